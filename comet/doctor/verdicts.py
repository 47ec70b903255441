"""The verdicts: what was seen of each thing, and whether it is as it should be. At the bottom: the table ``CHECKS``.

Pure functions of what was seen. A verdict that is WRONG names its fault, which ``advice`` knows, and has sentences that
say what is wrong and how it was seen.
"""

from __future__ import annotations

from collections.abc import Callable

from .flow import buffering, packing, poll, silence
from .seen import Seen, Sized
from .verdict import OK, UNKNOWN, WRONG, Verdict, ms


#: Seconds that two clocks may differ.
CLOCK = 60.0


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
        return Verdict(OK, f"answers in {ms(health.seconds)}" + (f"; in front of it: {who}" if _is_proxy(who) else ""))
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
    text = f"name {ms(seen.link.name)}, TCP {ms(seen.link.tcp)}"
    return Verdict(OK, text if seen.link.tls is None else f"{text}, {seen.link.version} {ms(seen.link.tls)}")


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
