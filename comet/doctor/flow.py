"""The flow: whether streams come as they are written, and whether the path lets them wait. Pure functions of what was
seen, as in ``verdicts``.
"""

from __future__ import annotations

from .seen import Answer, Seen, Stream
from .verdict import OK, UNKNOWN, WRONG, Verdict, ms


#: Streams that begin with something, whatever is published: all but text.
OPENING = {"sse", "sse?envelope=1", "ndjson", "html", "iframe", "multipart"}


# Streams.


def buffering(seen: Seen) -> Verdict | None:
    """Whether a stream comes as it is written, when nothing packs it."""
    plain = [stream for stream in seen.streams if not stream.packed]
    refused = [stream for stream in plain if stream.problem]
    if not plain or refused:
        return _no_streams(plain, refused)
    held = [stream for stream in plain if _is_held(stream, seen)]
    if held:
        sentence = (
            f"Something on the path holds back what comet writes: {_held(held[0], seen)}. "
            f"So it was on {_count(held, plain)}: {_names(held)}."
        )
        return Verdict(WRONG, f"held back: {len(held)} of {len(plain)}", "buffering", sentence)
    if seen.silence is not None and seen.silence.together:
        sentence = "Something on the path holds back what comet writes: several heartbeats came at once."
        return Verdict(WRONG, "heartbeats come together", "buffering", sentence)
    return _at_once(plain, seen)


def packing(seen: Seen) -> Verdict | None:
    """Whether a stream comes as it is written to those who take gzip: all browsers."""
    plain = [stream for stream in seen.streams if not stream.packed]
    packed = [stream for stream in seen.streams if stream.packed]
    if not packed or any(stream.problem for stream in seen.streams):
        return Verdict(UNKNOWN, "no streams to look at")
    if any(_is_held(stream, seen) for stream in plain):
        return Verdict(UNKNOWN, "streams are held back without it, too")
    held = [stream for stream in packed if _is_held(stream, seen)]
    if held:
        sentence = (
            "Something on the path compresses streams and keeps what it has until there is enough of it: "
            f"asked for with Accept-Encoding: gzip, {_held(held[0], seen)}; without, it comes at once. "
            f"So it was on {_count(held, packed)}: {_names(held)}."
        )
        return Verdict(WRONG, f"held back: {len(held)} of {len(packed)}", "packing", sentence)
    verdict = _at_once(packed, seen)
    squeezed = [stream for stream in packed if stream.encoding]
    if not squeezed:
        return Verdict(verdict.state, f"{verdict.seen}; nothing is compressed")
    return Verdict(verdict.state, f"{verdict.seen}; {_names(squeezed)}: compressed piece by piece")


def _no_streams(streams: list[Stream], refused: list[Stream]) -> Verdict:
    """What is said where there are no streams to look at."""
    foreign = [stream for stream in refused if not stream.ours]
    if foreign:
        sentence = (
            f"The path lets streams not pass: of {_names(foreign[:1])} {foreign[0].problem} "
            f"So it was on {_count(foreign, streams)}: {_names(foreign)}; comet has not said that."
        )
        return Verdict(WRONG, f"refused: {len(foreign)} of {len(streams)}", "refused", sentence)
    if refused and refused[0].status >= 500:
        sentence = f"comet itself gives no streams now, and no proxy is to blame: {refused[0].problem}"
        return Verdict(WRONG, f"{refused[0].status}", "not ready", sentence)
    if refused:
        return Verdict(UNKNOWN, f"comet gives none without --token, or another --channel: {refused[0].problem}")
    return Verdict(UNKNOWN, "no streams were opened")


def _is_held(stream: Stream, seen: Seen) -> bool:
    if stream.status == 0 or stream.head is None or (stream.wire in OPENING and stream.first is None):
        return True
    # Nobody waits without a reason for half as long as somebody has patience.
    return any(late is None or late > seen.patience / 2 for late in stream.late)


def _held(stream: Stream, seen: Seen) -> str:
    """How it was seen that a stream is held back."""
    wire = stream.wire.partition("?")[0]
    patience = f"{seen.patience:g} s"
    if stream.status == 0 or stream.head is None:
        return f"of the stream {wire} not even the headers came within {patience}"
    if None in stream.late:
        return f"an update did not come to the stream {wire} within {patience}"
    if stream.late:
        return f"an update came to the stream {wire} only after {max(late or 0.0 for late in stream.late):.1f} s"
    return f"the first bytes of the stream {wire} did not come within {patience}"


def _at_once(streams: list[Stream], seen: Seen) -> Verdict:
    times = [late for stream in streams for late in stream.late if late is not None]
    if not times:
        return Verdict(OK, f"each began at once; no updates were sent: {seen.unpublished.rstrip('.')}")
    return Verdict(OK, f"{len(times)} updates on {len(streams)} streams came within {ms(max(times))}")


def _count(some: list[Stream], all: list[Stream]) -> str:
    return "all streams" if len(some) == len(all) else f"{len(some)} of {len(all)} streams"


def _names(streams: list[Stream]) -> str:
    return ", ".join(dict.fromkeys(stream.wire.partition("?")[0] for stream in streams))


# Waiting.


def silence(seen: Seen) -> Verdict | None:
    """Whether a stream lives that is silent but for heartbeats."""
    found = seen.silence
    if found is None or found.problem:
        return Verdict(UNKNOWN, f"no stream: {found.problem}" if found else "no stream was opened")
    if found.heartbeat is None:
        return Verdict(UNKNOWN, "nothing came through")
    if found.ended is None:
        if seen.mute is not None and seen.mute.ended is not None:
            return _cut_without_heartbeats(seen, seen.mute.ended, found.heartbeat)
        return _lives(found.watched, found.heartbeat, len(found.beats))
    if found.goodbye:
        return Verdict(UNKNOWN, f"comet has ended the stream after {found.ended:.1f} s: it stops or reloads")
    if not found.beats:
        return _cut(seen, found.ended, found.heartbeat)
    sentence = (
        f"The path ended a stream after {found.ended:.1f} s although heartbeats came through: "
        "it allows an answer no more time than that, however much is written."
    )
    return Verdict(WRONG, f"ended after {found.ended:.1f} s", "lifetime", sentence)


def _cut(seen: Seen, after: float, heartbeat: float) -> Verdict:
    sentence = (
        f"The path cuts a silent stream after {after:.1f} s; comet is silent for up to {heartbeat:g} s "
        f"(COMET_HEARTBEAT).{_poll_too(seen)}"
    )
    return Verdict(WRONG, f"cut after {after:.1f} s of silence", "cut", sentence)


def _cut_without_heartbeats(seen: Seen, after: float, heartbeat: float) -> Verdict:
    sentence = (
        f"The path cuts a silent stream after {after:.1f} s. Most wires have heartbeats, every {heartbeat:g} s here; "
        f"but text and multipart have none.{_poll_too(seen)}"
    )
    return Verdict(WRONG, f"cut after {after:.1f} s without heartbeats", "cut", sentence)


def _lives(watched: float, heartbeat: float, beats: int) -> Verdict:
    if not beats:
        return Verdict(UNKNOWN, f"watched for {watched:.0f} s only, and a heartbeat takes {heartbeat:g}")
    return Verdict(OK, f"lives for {watched:.0f} s with a heartbeat every {heartbeat:g} s")


def _poll_too(seen: Seen) -> str:
    poll = seen.poll
    if poll is None or poll.answer.ours:
        return ""
    return f" A poll that was to wait for {poll.asked:g} s was answered {_answered(poll.answer)}, too."


def _answered(answer: Answer) -> str:
    if answer.status == 0:
        return f"not at all ({answer.text.rstrip('.')})"
    return f"{answer.status} after {answer.seconds:.1f} s"


def poll(seen: Seen) -> Verdict | None:
    """Whether a request may wait for its answer."""
    found = seen.poll
    if found is None:
        return Verdict(UNKNOWN, "none was sent")
    answer = found.answer
    if answer.ours and answer.status == 200:
        return Verdict(OK, f"waited for {answer.seconds:.0f} s")
    if answer.ours:
        return Verdict(UNKNOWN, f"comet refused it: {answer.status}")
    verdict = silence(seen)
    if verdict is not None and verdict.fault:
        return Verdict(UNKNOWN, "cut, as the silent stream")
    sentence = (
        f"A poll that was to wait for {found.asked:g} s was answered {_answered(answer)}: "
        "the path does not wait so long for an answer to begin."
    )
    return Verdict(WRONG, f"answered {_answered(answer)}", "cut", sentence)
