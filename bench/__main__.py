"""``python -m bench``: measure, print the table, write ``docs/performance.md``. ``--quick`` only prints."""

from __future__ import annotations

import argparse
import os
import resource
import sys
from dataclasses import replace

from . import report
from .load import Lost
from .rounds import MEASURES, QUICK, Figures, Work, rounds
from .servers import ROOT, SERVERS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="comet beside its peers, in one run.")
    parser.add_argument("--quick", action="store_true", help="a short run that writes no document")
    parser.add_argument("--rounds", type=int, help="how often each server is measured")
    parser.add_argument("--subscribers", type=int, help="how many streams each server holds")
    options = parser.parse_args()
    asked = {name: value for name in ("rounds", "subscribers") if (value := getattr(options, name))}
    work = replace(QUICK if options.quick else Work(), **asked)
    try:
        results = run(work)
    except Lost as lost:
        sys.exit(f"bench: {lost}.")
    print(f"\n{report.table(results)}\n\nEverybody got every update once and in order.")
    if not options.quick:
        report.write(ROOT / "docs", results, work)


def run(work: Work) -> report.Results:
    """Measure all servers on the first core; this process reads on the last."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    print(f"{work.rounds} rounds, {work.subscribers:,} subscribers", *report.machine(), "", sep="\n", flush=True)
    results: dict[str, list[Figures]] = {server.name: [] for server in SERVERS}
    for name, figures in rounds(work, cores[0]):
        results[name].append(figures)
        told = "".join(f"{measure.of(figures):9.1f}" for measure in MEASURES)
        print(f"round {len(results[name])}  {name:<12}{told}", flush=True)
    return results


if __name__ == "__main__":
    main()
