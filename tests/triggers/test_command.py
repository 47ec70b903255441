"""Command: real programs, their output, and their ends."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import gevent
import pytest

from comet.brokers import Receipt
from comet.core.errors import Alarm, SourceFailed
from comet.core.update import Update
from comet.triggers.command import Command
from comet.triggers.supervisor import Supervisor
from tests.timing import PATIENCE
from tests.triggers.watching import Published, ended, wait


def shell(script: str, *, seconds: float = 0.01, timeout: float = 20.0, **options: object) -> Command:
    return Command("test", argv=["sh", "-c", script], channel="a", every=seconds, timeout=timeout * PATIENCE, **options)  # type: ignore[arg-type]


def run_until(command: Command, published: Published, state: Callable[[], object]) -> None:
    running = gevent.spawn(command.run, published)
    wait(lambda: state() or running.ready())
    command.stop()
    ended(running)


def alive(pid: int) -> bool:
    """Whether a process runs. A dead one that nobody has waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def pid_in(file: Path) -> int:
    text = file.read_text() if file.exists() else ""
    return int(text) if text.endswith("\n") else 0


def test_the_output_is_published_as_it_is(published: Published) -> None:
    """Bytes and all, as text unless told otherwise."""
    run_until(shell(r"printf 'a\tb\n\303\251'"), published, lambda: published)
    assert [(u.channel, u.data, u.type) for u in published] == [("a", b"a\tb\n\xc3\xa9", "text/plain; charset=utf-8")]


def test_unchanged_output_is_not_published_again(published: Published, tmp_path: Path) -> None:
    """A page is told when something has changed."""
    script = f"echo x >> {tmp_path}/runs; wc -l < {tmp_path}/runs | awk '{{print ($1 < 4) ? 1 : 2}}'"
    run_until(shell(script), published, lambda: len(published) > 1)
    assert published.texts == ["1\n", "2\n"]


def test_no_output_is_an_output(published: Published) -> None:
    """What was there is gone: the page shows that."""
    run_until(shell("true"), published, lambda: published)
    assert published.texts == [""]


def test_a_failing_program_is_shown_like_any_other(published: Published) -> None:
    """Its exit status is its own affair; what it said is the output."""
    run_until(shell("echo sorry; exit 3"), published, lambda: published)
    assert published.texts == ["sorry\n"]


@pytest.mark.parametrize(("errors", "expected"), [(False, "out\n"), (True, "err\nout\n")])
def test_standard_error_is_taken_only_if_asked_for(
    published: Published,
    errors: bool,
    expected: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Else it goes where the worker's own goes."""
    run_until(shell("echo err >&2; echo out", errors=errors), published, lambda: published)
    assert published.texts == [expected]
    assert ("err" in capfd.readouterr().err) is not errors


def test_standard_input_is_empty(published: Published) -> None:
    """A program that reads does not wait for the terminal of the server."""
    run_until(shell("cat; echo end"), published, lambda: published)
    assert published.texts == ["end\n"]


def test_long_output_is_cut_at_the_end_of_a_line(
    published: Published,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """So much is taken as an update may have; the program is not kept waiting, and the log says it once."""
    command = shell("seq 100000; date +%N >&2", most=1000)
    runs: list[int] = []
    read = command._read
    command._read = lambda process: (runs.append(1), read(process))[1]  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING, "comet"):
        run_until(command, published, lambda: len(runs) > 3)
    (text,) = published.texts
    assert text.startswith("1\n2\n3\n") and text.endswith("\n") and 990 < len(text) <= 1000
    assert caplog.text.count("prints more than 1000 bytes") == 1


@pytest.mark.parametrize(("size", "kept"), [(1000, 1000), (1001, 1000)])
def test_one_long_line_is_cut_where_it_must_be(published: Published, size: int, kept: int) -> None:
    """Where there is no end of a line there is nothing better."""
    run_until(shell(f"head -c {size} /dev/zero | tr '\\0' x", most=1000), published, lambda: published)
    assert published.texts == ["x" * kept]


def test_a_program_that_takes_too_long_is_killed_with_its_children(
    published: Published,
    tmp_path: Path,
) -> None:
    """The trigger fails with a sentence, and the process group is gone."""
    command = shell(f"sleep 1000 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/self; wait", timeout=0.5 / PATIENCE)
    with pytest.raises(SourceFailed, match=r"sh took longer than 0\.5 seconds"):
        gevent.spawn(command.run, published).get(timeout=10 * PATIENCE)
    pids = [pid_in(tmp_path / "child"), pid_in(tmp_path / "self")]
    assert all(pids)
    wait(lambda: not any(map(alive, pids)))
    assert published == []


def test_stopping_does_not_wait_for_the_program(published: Published, tmp_path: Path) -> None:
    """It and its children are killed by ``stop`` itself, and what they had printed is not published."""
    command = shell(f"echo half; sleep 1000 & echo $! > {tmp_path}/child; wait", timeout=1000)
    running = gevent.spawn(command.run, published)
    wait(lambda: pid_in(tmp_path / "child"))
    child = pid_in(tmp_path / "child")
    assert alive(child)
    command.stop()
    # A signal that was sent is delivered before the victim runs again; nothing here has switched to the hub.
    ended(running)
    wait(lambda: not alive(child))
    assert published == []


def test_killing_the_greenlet_kills_the_program(published: Published, tmp_path: Path) -> None:
    """Whatever way a run ends, it leaves no process behind."""
    command = shell(f"sleep 1000 & echo $! > {tmp_path}/child; wait", timeout=1000)
    running = gevent.spawn(command.run, published)
    wait(lambda: pid_in(tmp_path / "child"))
    running.kill(timeout=10 * PATIENCE)
    wait(lambda: not alive(pid_in(tmp_path / "child")))


def test_what_the_program_left_running_dies_with_it(published: Published, tmp_path: Path) -> None:
    """A run each second must not leave a process each second."""
    script = f"sleep 1000 >/dev/null 2>&1 & echo $! >> {tmp_path}/children; wc -l < {tmp_path}/children"
    run_until(shell(script), published, lambda: len(published) >= 3)
    children = [int(line) for line in (tmp_path / "children").read_text().split()]
    assert len(children) >= 3
    wait(lambda: not any(map(alive, children)))


@pytest.mark.parametrize("argv", [["no-such-program"], ["/"], ["/etc/passwd"], ["/etc/passwd/x"]])
def test_a_program_that_does_not_start_is_an_alarm(
    published: Published,
    caplog: pytest.LogCaptureFixture,
    argv: list[str],
) -> None:
    """The log names it, once; it is tried again after a while, for it may be installed by then."""
    supervisor = Supervisor(published, alarm_pause=0.01)
    supervisor.add(Command("starts never", argv=argv, channel="a", every=1))
    with caplog.at_level(logging.ERROR, "comet"):
        supervisor.start()
        wait(lambda: supervisor.states[0].reconnects > 2)
    supervisor.stop()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"comet: the trigger starts never has stopped: {argv[0]} can't be run: ")
    assert published == []


def test_what_is_no_program(tmp_path: Path) -> None:
    """One sentence says so, whatever the system calls it."""
    script = tmp_path / "script"
    script.write_text("no first line says what runs it")
    script.chmod(0o755)
    with pytest.raises(Alarm, match=r"script can't be run: exec format error\."):
        Command("test", argv=[str(script)], channel="a", every=1)._output()


def test_no_descriptor_is_left_behind(published: Published) -> None:
    """Neither by runs that end nor by those that fail."""
    command = shell("date +%N")
    run_until(command, published, lambda: published)
    before = len(os.listdir("/proc/self/fd"))
    run_until(command, published, lambda: len(published) > 5)
    for _ in range(5):
        with pytest.raises(Alarm, match=r"no-such-program can't be run: no such file or directory"):
            Command("test", argv=["no-such-program"], channel="a", every=1)._output()
    assert len(os.listdir("/proc/self/fd")) <= before


# Each line.


def lines(script: str, **options: object) -> Command:
    return Command("test", argv=["sh", "-c", script], channel="a", lines=True, **options)  # type: ignore[arg-type]


def test_each_line_is_published_as_it_comes(published: Published) -> None:
    """Without waiting for the program's end; what has no end yet waits for it."""
    command = lines("echo 1; echo; printf 'th'; sleep 0.2; echo ree; exec sleep 1000", event="line", type="text/html")
    run_until(command, published, lambda: len(published) == 3)
    assert published.texts == ["1", "", "three"]
    assert {(update.event, update.type) for update in published} == {("line", "text/html")}


def test_a_program_of_lines_that_ends(published: Published) -> None:
    """With status 0 it has said everything, and its last line needs no end."""
    ended(gevent.spawn(lines("echo 1; printf 2; exit 0").run, published))
    assert published.texts == ["1", "2"]


@pytest.mark.parametrize(
    ("script", "how"), [("echo 1; exit 7", "with status 7"), ("echo 1; kill -9 $$", "by signal 9")]
)
def test_a_program_of_lines_that_fails(published: Published, script: str, how: str) -> None:
    """What it said is published, and the supervisor starts it again."""
    supervisor = Supervisor(published, first_pause=0.01)
    supervisor.add(lines(script))
    supervisor.start()
    wait(lambda: len(published) >= 3)
    supervisor.stop()
    assert set(published.texts) == {"1"}
    assert supervisor.states[0].error == f"SourceFailed: sh has ended {how}."


def test_lines_that_come_together_are_published_together(published: Published) -> None:
    """In batches that are bounded, however many they are."""
    sizes: list[int] = []

    def publish(updates: Sequence[Update], checkpoint: str | None = None) -> list[Receipt]:
        sizes.append(len(updates))
        return published(updates, checkpoint)

    ended(gevent.spawn(lines("seq 10000").run, publish))
    assert published.texts == [str(n) for n in range(1, 10001)]
    assert max(sizes) == 200 and len(sizes) < 200


def test_a_long_line_is_cut(published: Published, caplog: pytest.LogCaptureFixture) -> None:
    """The next one is whole, and the log says it once."""
    script = "for n in 1 2; do head -c 300000 /dev/zero | tr '\\0' x; echo; echo short; done"
    with caplog.at_level(logging.WARNING, "comet"):
        ended(gevent.spawn(lines(script, most=100).run, published))
    assert published.texts == ["x" * 100, "short"] * 2
    assert caplog.text.count("test prints a line of more than 100 bytes; the rest is left out") == 1


def test_a_flood_of_lines_does_not_hold_the_others_up(published: Published) -> None:
    """A program that never pauses: between batches the loop turns, and it is stopped at once."""
    command = lines("yes")
    running = gevent.spawn(command.run, published)
    ticks = 0
    while len(published) < 20_000:
        gevent.sleep(0.001)
        ticks += 1
        assert not running.ready()
    assert ticks > 5
    command.stop()
    ended(running)


def test_stopping_a_program_of_lines_leaves_nothing_of_it(published: Published, tmp_path: Path) -> None:
    """Its children neither."""
    command = lines(f"sleep 1000 & echo $! > {tmp_path}/child; echo 1; wait")
    run_until(command, published, lambda: published)
    wait(lambda: not alive(pid_in(tmp_path / "child")))


def test_lines_are_taken_whether_anybody_watches_or_not() -> None:
    """What nobody reads is lost: such a program never sleeps."""
    assert lines("true").always
    assert not shell("true").always


@pytest.mark.parametrize("options", [{}, {"every": 1.0, "lines": True}])
def test_neither_a_pace_nor_lines(options: dict[str, float]) -> None:
    """It is one or the other."""
    with pytest.raises(ValueError, match="every so many seconds, or it gives lines"):
        Command("test", argv=["true"], channel="a", **options)  # type: ignore[arg-type]


def test_output_has_the_event_that_was_asked_for(published: Published) -> None:
    """As every update may have one."""
    run_until(shell("echo 1", event="df"), published, lambda: published)
    assert [update.event for update in published] == ["df"]
