"""``python -m bench``: do all works, print the figures, write ``docs/performance.md``. With names of works, ``quick``
among them, or on another scale, only print."""

from __future__ import annotations

import argparse
import resource
import sys
import time

from . import report
from .rounds import rounds
from .servers import ROOT, Missing
from .works import QUICK, WORKS, Scale, Work, number


def main() -> None:
    by_name = {work.name: work for work in (*WORKS, QUICK)}
    parser = argparse.ArgumentParser(prog="python -m bench", description="comet beside its peers, in one run.")
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"what to do: {', '.join(by_name)}")
    parser.add_argument("--rounds", type=int, help="how often each server does it")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of it: 0.1 is a short form")
    options = parser.parse_args()
    if unknown := [name for name in options.works if name not in by_name]:
        parser.error(f"{unknown[0]} is not a work: {', '.join(by_name)} are.")
    works = [by_name[name] for name in options.works] or WORKS
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    run = report.Run()
    print(*report.machine(), sep="\n")
    for work in works:
        do(work, run, Scale(options.scale), options.rounds)
    print("\n## Goals\n\n" + report.goals(run, all_of_them=False))
    for label, why in run.failures.items():
        print(f"Failed: {label}: {why}")
    if not options.works and options.scale == 1:
        report.write(ROOT / "docs", run)
    sys.exit(bool(run.failures))


def do(work: Work, run: report.Run, scale: Scale, count: int | None) -> None:
    """Do one work, tell each round, and print the table."""
    begun = time.monotonic()
    print(f"\n## {work.title} ({work.name})\n", flush=True)
    results = run.results[work] = {row.label: [] for row in work.rows}
    for row, figures in rounds(work, scale, count or work.rounds):
        if isinstance(figures, Exception):
            told = str(figures).strip()
            if not isinstance(figures, Missing):
                run.failures[f"{row.label} ({work.name})"] = told
        else:
            results[row.label].append(figures)
            known = [each for each in work.measures if each.key in figures]
            told = ", ".join(f"{each.title} {number(figures[each.key] / each.factor)} {each.unit}" for each in known)
        print(f"{row.label}: {told}", flush=True)
    print(f"\n{report.work_table(work, results)}\n\n{time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
