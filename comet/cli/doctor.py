"""``doctor``: what is wrong on the way to a server, and what to change."""

from __future__ import annotations

import json
import os
import re
import sys

import click

from ..core.errors import BadRequest
from ..core.update import check_channel
from ..doctor import report, verdicts
from ..doctor.examination import Question, examine
from ..doctor.talk import Target, Unreachable
from .failures import FAILED, WRONG, fail


@click.command()
@click.argument("url")
@click.option("--channel", default="", metavar="NAME", help="Watch this channel. It should be a silent one.")
@click.option(
    "--seconds", type=float, metavar="S", help="How long the silence is watched.  [default: three heartbeats]"
)
@click.option("--token", envvar="COMET_TOKEN", default="", help="A signed token, if only that may subscribe.")
@click.option("--origin", default="", help="A site whose pages are to read, such as https://app.example.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(url: str, channel: str, seconds: float | None, token: str, origin: str, as_json: bool) -> None:
    """Measure the way to the server at URL, through its proxies.

    It says what is wrong and what to change. With COMET_PUBLISH_KEY it publishes, too: to channels of its own, which it
    deletes. The exit status is 1 if a fault was found. For example:

        python -m comet doctor https://push.example.org
    """
    key = os.environ.get("COMET_PUBLISH_KEY", "").partition(",")[0].strip()
    for name, text in (("COMET_PUBLISH_KEY", key), ("--token", token), ("--origin", origin)):
        if not re.fullmatch(r"[!-~]*", text):
            fail(f"{name} has characters in it that no header can carry.", WRONG)
    try:
        if channel:
            check_channel(channel)
        question = Question(Target.of(url), channel, seconds, key, token, origin)
    except (ValueError, BadRequest) as error:
        fail(str(error), WRONG)
    if seconds is not None and not 1 <= seconds <= 3600:
        fail(f"--seconds {seconds:g} is no time to watch: it takes 1 to 3600.", WRONG)
    try:
        seen = examine(question, _progress)
    except Unreachable as error:
        fail(str(error), WRONG)
    finally:
        _clear()
    wrong = report.faults(verdicts.judge(seen))
    click.echo(json.dumps(report.document(seen), indent=2) if as_json else report.text(seen))
    sys.exit(FAILED if wrong else 0)


def _progress(over: float, all: float) -> None:
    if sys.stderr.isatty():
        click.echo(f"\rmeasuring: {over:.0f} of {all:.0f} s", nl=False, err=True)


def _clear() -> None:
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
