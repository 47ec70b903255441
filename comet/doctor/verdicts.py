"""The verdicts: what was seen of each thing, and whether it is as it should be. At the bottom: the table ``CHECKS``.

Pure functions of what was seen. A verdict that is WRONG names its fault, which ``advice`` knows, and has sentences that
say what is wrong and how it was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .seen import Answer, Seen, Sized, Stream


OK, WRONG, UNKNOWN = "ok", "wrong", "not measured"

#: Seconds that two clocks may differ.
CLOCK = 60.0

#: Streams that begin with something, whatever is published: all but text.
OPENING = {"sse", "sse?envelope=1", "ndjson", "html", "iframe", "multipart"}


@dataclass(frozen=True)
class Verdict:
    """What is said of one thing. ``seen`` is a few words for the table."""

    state: str
    seen: str
    fault: str = ""
    sentence: str = ""


def judge(seen: Seen) -> list[tuple[str, Verdict]]:
    """The verdict of each check, by its name, in the order of the path. Of what is not comet no more is said."""
    found = []
    for name, check in CHECKS:
        verdict = check(seen)
        if verdict is not None:
            found.append((name, verdict))
        if verdict is not None and verdict.fault == "stranger":
            break
    return found


def server(seen: Seen) -> Verdict | None:
    """Whether it is comet that answers."""
    health, info = seen.health, seen.info
    if health.ours or (info is not None and info.ours):
        who = health.headers.get("server", "")
        return Verdict(OK, f"answers in {_ms(health.seconds)}" + (f"; in front of it: {who}" if _is_proxy(who) else ""))
    if 300 <= health.status < 400:
        there = health.headers.get("location", "somewhere else").removesuffix("/healthz")
        return Verdict(
            WRONG, f"a redirect ({health.status})", "stranger", f"{seen.url} leads to {there}: examine that."
        )
    if health.status in (502, 503, 504):
        sentence = f"Something answers at {seen.url}, but comet does not answer it: GET /healthz is {health.status}."
        return Verdict(WRONG, f"{health.status} instead of comet", "stranger", sentence)
    sentence = (
        f"What answers at {seen.url} is not comet: GET /healthz is {health.status}, and nothing in the answer is "
        "comet's. If comet is mounted below a path, the URL needs it."
    )
    return Verdict(WRONG, "not comet", "stranger", sentence)


def _is_proxy(who: str) -> bool:
    return bool(who) and not who.startswith("gunicorn")


def link(seen: Seen) -> Verdict | None:
    text = f"name {_ms(seen.link.name)}, TCP {_ms(seen.link.tcp)}"
    return Verdict(OK, text if seen.link.tls is None else f"{text}, {seen.link.version} {_ms(seen.link.tls)}")


def http_to_clients(seen: Seen) -> Verdict | None:
    """The version that clients speak with the first machine on the path."""
    if seen.health.version == "1.0":
        sentence = (
            "Answers come as HTTP/1.0: it has no chunks, so a stream that was cut looks like one that has ended, "
            "and each answer costs a connection."
        )
        return Verdict(WRONG, "HTTP/1.0", "old answers", sentence)
    if seen.link.protocol == "h2":
        return Verdict(OK, "HTTP/2")
    few = "browsers open 6 connections to a host at most"
    if seen.link.tls is None:
        return Verdict(OK, f"HTTP/1.1 without TLS: {few}, and speak HTTP/2 by TLS only")
    return Verdict(OK, f"HTTP/1.1: {few}; HTTP/2 has no such limit")


def http_to_comet(seen: Seen) -> Verdict | None:
    """The version that the last machine on the path speaks with comet."""
    version = seen.health.headers.get("comet-reached-by", "").partition(",")[0]
    if not version:
        return Verdict(UNKNOWN, "something else answers /healthz")
    if version != "HTTP/1.0":
        return Verdict(OK, version)
    sentence = (
        "The proxy asks comet by HTTP/1.0 (so GET /healthz has said). Without chunks a stream that was cut looks "
        "like one that has ended, and each request to comet costs a connection."
    )
    return Verdict(WRONG, "HTTP/1.0", "old requests", sentence)


def ready(seen: Seen) -> Verdict | None:
    if seen.ready is None or (not seen.ready.ours and seen.ready.status != 200):
        return Verdict(UNKNOWN, "no answer of comet's to /readyz")
    if seen.ready.status == 200:
        return Verdict(OK, "takes streams and updates")
    sentence = f"comet is not ready, and no proxy is to blame: GET /readyz is {seen.ready.status}."
    return Verdict(WRONG, f"{seen.ready.status}", "not ready", sentence)


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
    return Verdict(OK, f"{len(times)} updates on {len(streams)} streams came within {_ms(max(times))}")


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


# Sizes.


def heads(seen: Seen) -> Verdict | None:
    """Whether requests with long URLs and headers pass."""
    url, field = seen.long_url, seen.long_field
    if url is None or field is None:
        return Verdict(UNKNOWN, "none was sent")
    refused = []
    if not url.answer.ours:
        refused.append(f"a URL of {url.size} bytes (16 channels with long names) was answered {_status(url)}")
    if field.answer.status != seen.health.status:
        refused.append(f"a header of {field.size} bytes (a token, or cookies) was answered {_status(field)}")
    if not refused:
        return Verdict(OK, f"a URL of {url.size} bytes and a header of {field.size} pass")
    sentence = f"The path takes short heads of requests only: {' and '.join(refused)}; comet takes 8190 bytes of each."
    return Verdict(WRONG, "long ones are refused", "heads", sentence)


def body(seen: Seen) -> Verdict | None:
    """Whether the body of an update passes."""
    if seen.body is None:
        return Verdict(UNKNOWN, "none was sent")
    answer = seen.body.answer
    if answer.status == 201 or answer.ours:
        return Verdict(OK, f"{seen.body.size} bytes pass")
    if answer.status != 413:
        return Verdict(UNKNOWN, f"{seen.body.size} bytes were answered {_status(seen.body)}, and not by comet")
    sentence = f"The path refuses an update of {seen.body.size} bytes (413), which comet would take (COMET_MAX_UPDATE)."
    return Verdict(WRONG, "large ones are refused", "bodies", sentence)


def _status(sized: Sized) -> str:
    return str(sized.answer.status) if sized.answer.status else "not at all"


# The rest.


def forwarding(seen: Seen) -> Verdict | None:
    """Whether comet is told who its clients are."""
    reached_by = seen.health.headers.get("comet-reached-by", "")
    if not reached_by:
        return Verdict(UNKNOWN, "something else answers /healthz")
    if "forwarded" in reached_by:
        return Verdict(OK, "X-Forwarded-For reaches comet, which believes it from COMET_TRUSTED_PROXIES")
    if _is_proxy(seen.health.headers.get("server", "")) or "via" in seen.health.headers:
        return Verdict(OK, "no X-Forwarded-For reaches comet: all clients have the proxy's address")
    return Verdict(OK, "comet is told of no proxy")


def clock(seen: Seen) -> Verdict | None:
    if seen.clock is None:
        return Verdict(UNKNOWN, "no Date in the answer")
    apart = abs(seen.clock)
    if apart <= CLOCK:
        return Verdict(OK, "that of here" if apart < 2 else f"{apart:.0f} s from that of here")
    which = "ahead of" if seen.clock > 0 else "behind"
    sentence = (
        f"The server's clock is {apart:.0f} s {which} the one here: one of them is wrong. "
        "Tokens end too early or too late by it."
    )
    return Verdict(WRONG, f"{apart:.0f} s {which} that of here", "clock", sentence)


def other_site(seen: Seen) -> Verdict | None:
    """Whether pages of a site may read; said only if it was asked."""
    if seen.other_site is None:
        return None
    allowed = seen.other_site.headers.get("access-control-allow-origin", "")
    if allowed in (seen.origin, "*"):
        return Verdict(OK, f"pages of {seen.origin} may read")
    if "," in allowed:
        sentence = (
            f"Access-Control-Allow-Origin came twice ({allowed}): comet sends it, and something on the path "
            "adds another. Browsers refuse that."
        )
        return Verdict(WRONG, "told twice", "cors twice", sentence)
    sentence = f"Pages of {seen.origin} may not read: there is no Access-Control-Allow-Origin for them in the answer."
    return Verdict(WRONG, "may not read", "cors", sentence)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "1 ms"


CHECKS: list[tuple[str, Callable[[Seen], Verdict | None]]] = [
    ("comet", server),
    ("connection", link),
    ("HTTP to clients", http_to_clients),
    ("HTTP to comet", http_to_comet),
    ("readiness", ready),
    ("streams", buffering),
    ("streams, gzip", packing),
    ("silence", silence),
    ("long poll", poll),
    ("long heads", heads),
    ("large bodies", body),
    ("client's address", forwarding),
    ("clock", clock),
    ("other site", other_site),
]
