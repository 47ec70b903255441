"""``publish``: an update of what is typed or piped in, or one of each line as it comes."""

from __future__ import annotations

import json
import os
import secrets
import sys

import click

from ..core.errors import BadRequest
from ..core.update import check_channel, check_event, check_key, check_type
from . import options, output
from .failures import FAILED, WRONG, fail, tell
from .feed import Feed
from .remote import Remote, Trouble


STDIN = 0

#: Larger than any sensible update. The server knows how much it takes, and says so.
MOST = 64 * 1_048_576


@click.command()
@click.argument("channel")
@click.argument("data", required=False)
@click.option("--type", "media_type", metavar="TYPE", help="Its media type, such as text/html or image/png.")
@click.option("--event", metavar="NAME", help="Its event name.")
@click.option(
    "--id", "--idempotency-key", "key", metavar="KEY", help="Publish it once, however often it is said with this key."
)
@click.option("--lines", is_flag=True, help="An update of each line of standard input, as it comes.")
@options.as_json
@options.url
@options.token
def publish(
    channel: str,
    data: str | None,
    media_type: str | None,
    event: str | None,
    key: str | None,
    lines: bool,
    as_json: bool,
    url: str,
    token: str | None,
) -> None:
    """Publish DATA, or what comes on standard input, to CHANNEL.

    For example:

    \b
        python -m comet publish hello 'Hello from the terminal'
        date | python -m comet publish time -
        python -m comet publish picture --type image/png < picture.png
        tail -f app.log | python -m comet publish log --lines
    """
    _check(channel, media_type, event, key, lines)
    remote = options.publisher(url, token)
    try:
        if lines:
            if data not in (None, "-"):
                fail("--lines publishes the lines of standard input: leave DATA out, or make it -.", WRONG)
            _follow(Feed(remote, channel, media_type, event, key or secrets.token_hex(8)), as_json)
        else:
            _once(remote, channel, _bytes(data, media_type), media_type, event, key, as_json)
    except Trouble as trouble:
        fail(str(trouble), FAILED)


def _check(channel: str, media_type: str | None, event: str | None, key: str | None, lines: bool) -> None:
    try:
        check_channel(channel)
        if media_type is not None:
            check_type(media_type)
        if event is not None:
            check_event(event)
        if key is not None:
            check_key(key)
            # Room for the number of the line.
            if lines and len(key) > 108:
                raise BadRequest("--id with --lines takes 108 characters: the number of the line follows it.")
    except BadRequest as error:
        fail(str(error), WRONG)


# One update.


def _bytes(data: str | None, media_type: str | None) -> bytes:
    """What is to be published. Text must be UTF-8, unless it is said to be something else."""
    where = "DATA"
    if data is not None and data != "-":
        read = os.fsencode(data)
    else:
        where = "standard input"
        if data is None and sys.stdin is not None and os.isatty(STDIN):
            fail("there is nothing to publish: name DATA after the channel, or pipe it in.", WRONG)
        read = _standard_input()
    if media_type is None or media_type.lower().startswith("text/"):
        try:
            read.decode()
        except UnicodeDecodeError:
            right = "say what it is by --type, such as image/png or application/octet-stream"
            fail(f"{where} is not UTF-8, which text is: {right}.", WRONG)
    return read


def _standard_input() -> bytes:
    pieces, size = [], 0
    try:
        while piece := os.read(STDIN, 1_048_576):
            pieces.append(piece)
            size += len(piece)
            if size > MOST:
                fail(
                    f"more than {MOST} bytes come on standard input, too many for an update; --lines takes any number.",
                    FAILED,
                )
    except OSError as error:
        fail(f"can't read standard input: {(error.strerror or str(error)).lower()}.", FAILED)
    return b"".join(pieces)


def _once(
    remote: Remote,
    channel: str,
    data: bytes,
    media_type: str | None,
    event: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    headers = {"Content-Type": media_type or "text/plain; charset=utf-8"}
    if key is not None:
        headers["Idempotency-Key"] = key
    parameters = {} if event is None else {"event": event}
    answer = remote.ask("POST", f"/channels/{channel}", data=data, headers=headers, params=parameters)
    try:
        told = answer.json()
        if as_json:
            output.say(json.dumps(told, ensure_ascii=False))
        elif told.get("duplicate"):
            output.say(f"{channel}: {told['id']} was published with this key already.")
        else:
            count = told["subscribers"]
            output.say(f"{channel}: {told['id']}, {count} {'subscriber' if count == 1 else 'subscribers'}.")
    except (ValueError, KeyError, AttributeError):
        raise remote.stranger(answer) from None


# Each line.


def _follow(feed: Feed, as_json: bool) -> None:
    if os.isatty(STDIN):
        tell("each line is published; Ctrl-D ends.")
    feed.run()
    if as_json:
        output.say(json.dumps(feed.sum))
    elif feed.sum["last"] is None:
        output.say("nothing was published: no line came.")
    else:
        count, again = feed.sum["count"], feed.sum["duplicates"]
        twice = f", and {again} that were published with their keys already" if again else ""
        output.say(
            f"{feed.channel}: {count} {'line' if count == 1 else 'lines'}{twice}; the last is {feed.sum['last']}."
        )
