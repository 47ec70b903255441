"""The doctor's verdicts: what is said of what was seen, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comet.doctor import report
from comet.doctor.advice import ADVICE
from comet.doctor.seen import Answer, Link, Poll, Seen, Silence, Sized, Stream
from comet.doctor.verdict import OK, UNKNOWN, WRONG
from comet.doctor.verdicts import CHECKS, judge


OURS = {"content-type": "application/problem+json"}
HEALTH = Answer(200, 0.01, headers={"comet-reached-by": "HTTP/1.1, forwarded", "server": "nginx/1.22.1"})
LATE = (0.01, 0.02, 0.01)

SOUND = Seen(
    "https://push.example:443",
    Link(0.001, 0.01, 0.02, "TLSv1.3", "h2"),
    HEALTH,
    info=Answer(404, 0.01, headers=OURS),
    ready=Answer(200, 0.01, text="ready\n"),
    streams=(
        Stream("sse", late=LATE),
        Stream("ndjson", late=LATE),
        Stream("text", first=None, late=LATE),
        Stream("html", packed=True, encoding="gzip", late=LATE),
        Stream("sse", packed=True, late=LATE),
    ),
    silence=Silence(46.0, heartbeat=15.0, beats=(15.0, 30.0, 45.0)),
    mute=Silence(46.0),
    poll=Poll(25.0, Answer(200, 25.0, headers={"comet-cursor": "k3f9tq2m-1"})),
    long_url=Sized(2100, Answer(400, 0.01, headers=OURS)),
    long_field=Sized(4096, HEALTH),
    body=Sized(262_144, Answer(201, 0.01)),
    clock=0.3,
)

HEADLESS = Stream("sse", status=0, ours=False, head=None, first=None)
TEXT, PACKED = Stream("text", late=LATE), Stream("html", packed=True, encoding="gzip", late=LATE)
CUT = Silence(5.0, heartbeat=15.0, ended=5.0)
FIRST_SILENCE = Silence(46.0, heartbeat=15.0, beats=(15.0, 30.0))


def health(status: int = 200, version: str = "1.1", text: str = "", **headers: str) -> Answer:
    return Answer(status, 0.01, version, {name.replace("_", "-"): value for name, value in headers.items()}, text)


#: what is otherwise than on a sound path, the check that says so, its state, its fault, and what its words have in them
ROWS: list[tuple[dict[str, object], str, str, str, str]] = [
    ({}, "comet", OK, "", "in front of it: nginx/1.22.1"),
    ({"health": health(comet_reached_by="HTTP/1.1", server="gunicorn")}, "comet", OK, "", "answers in 10 ms"),
    ({"health": health(text="ok\n")}, "comet", OK, "", "answers"),  # by something before comet
    ({"health": health(), "info": health(404)}, "comet", WRONG, "stranger", "is not comet"),
    ({"health": health(502), "info": health(502)}, "comet", WRONG, "stranger", "comet does not answer it"),
    (
        {"health": health(301, location="https://b.example/"), "info": health(301)},
        *("comet", WRONG, "stranger", "leads to https://b.example/: examine that"),
    ),
    ({}, "connection", OK, "", "name 1 ms, TCP 10 ms, TLSv1.3 20 ms"),
    ({"link": Link(0.0, 0.01)}, "connection", OK, "", "name 1 ms, TCP 10 ms"),
    ({}, "HTTP to clients", OK, "", "HTTP/2"),
    ({"link": Link(0.0, 0.01)}, "HTTP to clients", OK, "", "without TLS"),
    ({"link": Link(0.0, 0.01, 0.1, "TLSv1.3", "http/1.1")}, "HTTP to clients", OK, "", "6 connections"),
    ({"health": replace(HEALTH, version="1.0")}, "HTTP to clients", WRONG, "old answers", "come as HTTP/1.0"),
    ({}, "HTTP to comet", OK, "", "HTTP/1.1"),
    ({"health": health(comet_reached_by="HTTP/1.0")}, "HTTP to comet", WRONG, "old requests", "by HTTP/1.0"),
    ({"health": health(text="ok\n")}, "HTTP to comet", UNKNOWN, "", "something else answers /healthz"),
    ({}, "readiness", OK, "", "takes streams"),
    ({"ready": Answer(503, 0.1, headers=OURS)}, "readiness", WRONG, "not ready", "no proxy is to blame"),
    ({"ready": Answer(502, 0.1)}, "readiness", UNKNOWN, "", "no answer of comet's"),
    ({}, "streams", OK, "", "9 updates on 3 streams came within 20 ms"),
    ({"streams": ()}, "streams", UNKNOWN, "", "no streams"),
    ({"streams": (HEADLESS, TEXT)}, "streams", WRONG, "buffering", "sse not even the headers came within 4 s"),
    ({"streams": (Stream("ndjson", first=None),)}, "streams", WRONG, "buffering", "ndjson did not come within 4 s"),
    ({"streams": (HEADLESS,)}, "streams", WRONG, "buffering", "on all streams: sse"),
    (
        {"streams": (Stream("html", first=None), TEXT)},
        *("streams", WRONG, "buffering", "first bytes of the stream html did not come"),
    ),
    ({"streams": (Stream("text", first=None),)}, "streams", OK, "", "began at once"),
    ({"streams": (Stream("sse", late=(0.1, None)),)}, "streams", WRONG, "buffering", "an update did not come"),
    ({"streams": (Stream("sse", late=(0.1, 2.5)),)}, "streams", WRONG, "buffering", "only after 2.5 s"),
    ({"streams": (Stream("sse", late=(0.1, 2.5)),), "patience": 9.0}, "streams", OK, "", "within 2500 ms"),
    (
        {"streams": (Stream("sse", status=401, problem="orders is private."), TEXT)},
        *("streams", UNKNOWN, "", "none without --token, or another --channel: orders is private."),
    ),
    (
        {"streams": (Stream("sse", status=503, problem="this server is full."),)},
        *("streams", WRONG, "not ready", "comet itself gives no streams now, and no proxy is to blame: this server"),
    ),
    (
        {"streams": (Stream("sse", status=503, ours=False, problem="it was answered 503."), TEXT)},
        *("streams", WRONG, "refused", "of sse it was answered 503. So it was on 1 of 2 streams: sse"),
    ),
    (
        {"streams": (TEXT, Stream("sse", packed=True, status=503, ours=False, problem="it was answered 503."))},
        *("streams, gzip", UNKNOWN, "", "no streams to look at"),
    ),
    (
        {"mute": Silence(20.0, ended=20.0), "poll": Poll(25.0, Answer(504, 20.0))},
        *("silence", WRONG, "cut", "after 20.0 s. Most wires have heartbeats, every 15 s here; but text and multipart"),
    ),
    ({"mute": Silence(20.0, ended=20.0), "silence": CUT}, "silence", WRONG, "cut", "after 5.0 s; comet is silent"),
    ({"silence": replace(FIRST_SILENCE, together=True)}, "streams", WRONG, "buffering", "several heartbeats"),
    (
        {"streams": (Stream("sse"),), "unpublished": "COMET_PUBLISH_KEY is not set here."},
        *("streams", OK, "", "no updates were sent: COMET_PUBLISH_KEY is not set here"),
    ),
    ({}, "streams, gzip", OK, "", "html: compressed piece by piece"),
    ({"streams": (TEXT, replace(PACKED, encoding=""))}, "streams, gzip", OK, "", "nothing is compressed"),
    (
        {"streams": (TEXT, replace(HEADLESS, packed=True), PACKED)},
        *("streams, gzip", WRONG, "packing", "on 1 of 2 streams: sse"),
    ),
    ({"streams": (HEADLESS, replace(HEADLESS, packed=True))}, "streams, gzip", UNKNOWN, "", "without it, too"),
    ({"streams": (TEXT,)}, "streams, gzip", UNKNOWN, "", "no streams"),
    ({}, "silence", OK, "", "lives for 46 s with a heartbeat every 15 s"),
    ({"silence": CUT}, "silence", WRONG, "cut", "cuts a silent stream after 5.0 s"),
    (
        {"silence": CUT, "poll": Poll(25.0, Answer(504, 5.0))},
        *("silence", WRONG, "cut", "A poll that was to wait for 25 s was answered 504 after 5.0 s, too."),
    ),
    ({"silence": replace(FIRST_SILENCE, ended=40.0)}, "silence", WRONG, "lifetime", "after 40.0 s although heartbeats"),
    ({"silence": replace(CUT, goodbye=True)}, "silence", UNKNOWN, "", "it stops or reloads"),
    ({"silence": replace(CUT, ended=None)}, "silence", UNKNOWN, "", "watched for 5 s only"),
    ({"silence": Silence(4.0)}, "silence", UNKNOWN, "", "nothing came through"),
    ({"silence": Silence(0.1, problem="x is private.")}, "silence", UNKNOWN, "", "no stream: x is private."),
    ({"silence": None}, "silence", UNKNOWN, "", "no stream"),
    ({}, "long poll", OK, "", "waited for 25 s"),
    ({"poll": None}, "long poll", UNKNOWN, "", "none"),
    ({"poll": Poll(25.0, Answer(504, 20.0))}, "long poll", WRONG, "cut", "answered 504 after 20.0 s"),
    ({"poll": Poll(25.0, Answer(0, 20.0, text="x closes."))}, "long poll", WRONG, "cut", "not at all (x closes)"),
    ({"poll": Poll(25.0, Answer(401, 0.1, headers=OURS))}, "long poll", UNKNOWN, "", "refused it: 401"),
    ({"poll": Poll(25.0, Answer(504, 5.0)), "silence": CUT}, "long poll", UNKNOWN, "", "as the silent stream"),
    ({}, "long heads", OK, "", "a URL of 2100 bytes and a header of 4096 pass"),
    ({"long_url": Sized(2100, Answer(414, 0.1))}, "long heads", WRONG, "heads", "a URL of 2100 bytes"),
    (
        {"long_field": Sized(4096, Answer(400, 0.1))},
        "long heads",
        WRONG,
        "heads",
        "(a token, or cookies) was answered 400",
    ),
    ({"long_field": Sized(4096, Answer(0, 0.1))}, "long heads", WRONG, "heads", "was answered not at all"),
    ({"long_url": None}, "long heads", UNKNOWN, "", "none"),
    ({}, "large bodies", OK, "", "262144 bytes pass"),
    ({"body": Sized(262_144, Answer(401, 0.1, headers=OURS))}, "large bodies", OK, "", "pass"),
    ({"body": Sized(262_144, Answer(413, 0.1, headers=OURS))}, "large bodies", OK, "", "pass"),  # COMET_MAX_UPDATE
    ({"body": Sized(262_144, Answer(413, 0.1))}, "large bodies", WRONG, "bodies", "refuses an update of 262144 bytes"),
    ({"body": Sized(262_144, Answer(403, 0.1))}, "large bodies", UNKNOWN, "", "not by comet"),
    ({"body": None}, "large bodies", UNKNOWN, "", "none"),
    ({}, "client's address", OK, "", "X-Forwarded-For reaches comet"),
    (
        {"health": health(comet_reached_by="HTTP/1.1", server="nginx")},
        *("client's address", OK, "", "all clients have the proxy's address"),
    ),
    (
        {"health": health(comet_reached_by="HTTP/1.1", server="gunicorn", via="1.1 Caddy")},
        *("client's address", OK, "", "all clients have the proxy's address"),
    ),
    ({"health": health(comet_reached_by="HTTP/1.1")}, "client's address", OK, "", "told of no proxy"),
    ({"health": health(text="ok\n")}, "client's address", UNKNOWN, "", "something else"),
    ({}, "clock", OK, "", "that of here"),
    ({"clock": -30.0}, "clock", OK, "", "30 s from that of here"),
    ({"clock": -90.0}, "clock", WRONG, "clock", "90 s behind the one here"),
    ({"clock": 90.0}, "clock", WRONG, "clock", "90 s ahead of the one here"),
    ({"clock": None}, "clock", UNKNOWN, "", "no Date"),
]

SITE = "https://app.example"
#: Access-Control-Allow-Origin of an answer to that site
SITES = [
    (SITE, OK, "", "may read"),
    ("*", OK, "", "may read"),
    ("", WRONG, "cors", "there is no Access-Control-Allow-Origin"),
    (f"{SITE}, *", WRONG, "cors twice", "came twice"),
]
ROWS += [
    ({"origin": SITE, "other_site": health(access_control_allow_origin=allowed)}, "other site", *verdict)
    for allowed, *verdict in SITES
]


@pytest.mark.parametrize(("otherwise", "check", "state", "fault", "words"), ROWS)
def test_a_verdict(otherwise: dict[str, object], check: str, state: str, fault: str, words: str) -> None:
    """It follows from what was seen, names its fault, and has sentences for it."""
    verdict = dict(judge(replace(SOUND, **otherwise)))[check]  # type: ignore[arg-type]
    assert (verdict.state, verdict.fault) == (state, fault)
    assert words in f"{verdict.seen} {verdict.sentence}"
    assert bool(verdict.sentence) == (state == WRONG) == bool(fault)


def test_a_sound_path_has_no_fault() -> None:
    """Every check but that of another site, which nobody asked for."""
    verdicts = judge(SOUND)
    assert {verdict.state for _, verdict in verdicts} == {OK}
    assert len(verdicts) == len(CHECKS) - 1
    assert report.text(SOUND).endswith("\n\nNo fault was found.")
    assert report.document(SOUND)["ok"] is True


def test_of_a_stranger_nothing_more_is_said() -> None:
    """What is not comet can't be right or wrong."""
    seen = Seen("http://a.example:80", Link(0.0, 0.0), health(), info=health(404))
    assert [name for name, _ in judge(seen)] == ["comet"]


def test_each_fault_has_its_advice() -> None:
    """And there is no advice for what is never found."""
    assert {fault for *_, fault, _ in ROWS} - {""} == set(ADVICE)


def test_the_report_says_what_to_change() -> None:
    """The proxy that says its name comes first; each fault has its sentences and the directives."""
    caddy = health(comet_reached_by="HTTP/1.0", server="Caddy")
    text = report.text(replace(SOUND, health=caddy, long_field=Sized(4096, caddy), silence=CUT))
    assert "2 faults were found." in text
    assert "  HTTP to comet     WRONG         HTTP/1.0\n" in text
    first, second = text.partition("1. HTTP to comet: ")[2].split("2. silence: ")
    assert first.index("Caddy") < first.index("nginx") < first.index("HAProxy")
    assert "proxy_read_timeout 1h;" in second
    assert max(map(len, text.splitlines())) <= report.WIDTH


def test_the_report_for_programs() -> None:
    """Each check with its state, and of a fault what to change."""
    document = report.document(replace(SOUND, silence=CUT))
    (wrong,) = [check for check in document["checks"] if check["state"] == WRONG]
    assert (document["ok"], wrong["check"], wrong["fault"]) == (False, "silence", "cut")
    assert wrong["change"]["nginx"] == "proxy_read_timeout 1h;"
