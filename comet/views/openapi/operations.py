"""The routes of the document: what each takes and answers. At the bottom: the table ``PATHS``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.wire import BY_TYPE, WIRES
from .components import Schema, ref


BINARY: Schema = {}  # anything, as it is
TEXT: Schema = {"type": "string"}

#: Who may: each is one of the ways.
ANYBODY: list[Schema] = []
ADMIN: list[Schema] = [{"bearer": []}]
WATCHER: list[Schema] = [{"bearer": []}, {"password": []}]
PUBLISHER: list[Schema] = [{"bearer": []}, {"token": []}, {"cookie": []}]
#: A private channel takes one; else it needs none.
SUBSCRIBER: list[Schema] = [{}, {"bearer": []}, {"token": []}, {"cookie": []}]
STRANGER = SUBSCRIBER[:-1]  # of another site: its cookie does not count

READING = ("since", "Last-Event-ID", "last")
#: 503: a token that can be revoked is asked for at the broker, which may be away.
CREDENTIALS = ("400", "401", "403", "503")
#: The parameters of one wire; its channels are as many as fit.
OWN = {"sse": ("envelope",), "jsonp": ("callback",), "iframe": ("origin",)}
BODY = ("408", "413", "415", "429")


def operation(
    summary: str,
    answers: dict[str, Schema],
    refusals: Sequence[str] = (),
    *,
    security: list[Schema],
    takes: Sequence[str] = (),
    body: Schema | None = None,
) -> Schema:
    """``takes`` are names of parameters, ``refusals`` of refusals; what they are is in ``components``."""
    found: Schema = {"summary": summary, "security": security}
    if takes:
        found["parameters"] = [ref("parameters", name) for name in takes]
    if body is not None:
        found["requestBody"] = body
    found["responses"] = answers | {status: ref("responses", status) for status in refusals}
    return found


def answer(description: str, content: dict[str, Schema] | None = None, *headers: str) -> Schema:
    found: Schema = {"description": description}
    if headers:
        found["headers"] = {name: ref("headers", name) for name in headers}
    if content:
        found["content"] = {media_type: {"schema": schema} for media_type, schema in content.items()}
    return found


def json(name: str) -> dict[str, Schema]:
    return {"application/json": ref("schemas", name)}


def _subscription(kind: str) -> Schema:
    wire = WIRES[kind]
    takes = ("channel" if kind == "multipart" else "channels", *READING, *_options(kind))
    return {
        "get": operation(
            (wire.__doc__ or kind).partition("\n")[0],
            {"200": answer(_lasts(kind), {_essence(kind): _content(kind)}, "Comet-Cursor")},
            (*CREDENTIALS, "429"),
            security=STRANGER if kind in ("jsonp", "iframe") else SUBSCRIBER,
            takes=takes,
        )
    }


def _options(kind: str) -> tuple[str, ...]:
    return (("timeout", "limit") if WIRES[kind].one_shot else ("rate",)) + OWN.get(kind, ())


def _lasts(kind: str) -> str:
    if WIRES[kind].one_shot:
        return "What there is to tell, or nothing after `timeout`."
    if kind == "sse":
        return "A stream, without end. A full server ends it at once, after a `retry:`."
    return "A stream, without end."


def _essence(kind: str) -> str:
    return WIRES[kind].content_type.partition(";")[0]


def _content(kind: str) -> Schema:
    if kind == "poll":
        return ref("schemas", "Poll")
    if kind == "ndjson":
        return TEXT | {"description": "A JSON object a line, as the schema Line; blanks between them are heartbeats."}
    return TEXT


_NEGOTIATED = ("text", *BY_TYPE.values())

PATHS: dict[str, Any] = {
    "/channels": {
        "get": operation(
            "All channels, as `info` has them.",
            {"200": answer("The list.", json("List"))},
            CREDENTIALS,
            security=ADMIN,
        ),
        "post": operation(
            "Publish a batch: all of its lines in order, or none.",
            {"201": answer("All are published.", json("Batch"))},
            (*CREDENTIALS, *BODY),
            security=PUBLISHER,
            body={
                "required": True,
                "content": {
                    "application/x-ndjson": {
                        "schema": TEXT | {"description": "A JSON object a line, as the schema BatchLine."},
                        "example": '{"channel":"orders","data":"7 boxes"}\n{"channel":"orders","data":"8 boxes"}\n',
                    }
                },
            },
        ),
    },
    "/channels/{channel}": {
        "get": operation(
            "Subscribe on the wire that `Accept` asks for.",
            {
                "200": answer(
                    "The answer of that wire.",
                    {_essence(kind): _content(kind) for kind in _NEGOTIATED},
                    "Comet-Cursor",
                )
            },
            (*CREDENTIALS, "429"),
            security=SUBSCRIBER,
            takes=("channels", *READING, "rate", "timeout", "limit", "envelope"),
        ),
        "post": operation(
            "Publish: the body is the data, `Content-Type` its media type.",
            {
                "201": answer("It is published.", json("Published")),
                "200": answer("It was, under the same key: nothing is published.", json("Published")),
            },
            (*CREDENTIALS, *BODY),
            security=PUBLISHER,
            takes=("channel", "event", "Comet-Event", "Idempotency-Key"),
            body={
                "description": "The data. It may be empty.",
                "content": {
                    "text/plain": {"schema": TEXT},
                    "application/json": {"schema": {}},
                    "*/*": {"schema": BINARY},
                },
            },
        ),
        "delete": operation(
            "Delete: forget the history, tell and end the subscribers.",
            {"204": answer("It is deleted.")},
            (*CREDENTIALS, "404"),
            security=ADMIN,
            takes=("channel",),
        ),
    },
    **{f"/channels/{{channel}}/{kind}": _subscription(kind) for kind in WIRES},
    "/channels/{channel}/latest": {
        "get": operation(
            "The newest update as itself: its bytes, its type.",
            {
                "200": answer("The update.", {"*/*": BINARY}, "ETag", "X-SUP-ID"),
                "304": answer("It is still the one of `If-None-Match`.", None, "ETag", "X-SUP-ID"),
            },
            (*CREDENTIALS, "404"),
            security=SUBSCRIBER,
            takes=("channel", "If-None-Match"),
        )
    },
    "/channels/{channel}/view": {
        "get": operation(
            "A page for people: the newest content, live, with its id, its age, and the state of the connection.",
            {"200": answer("The page.", {"text/html": TEXT})},
            CREDENTIALS,
            security=SUBSCRIBER,
            takes=("channel",),
        )
    },
    "/channels/{channel}/info": {
        "get": operation(
            "What is kept of a channel.",
            {"200": answer("The channel.", json("Info"), "X-SUP-ID")},
            (*CREDENTIALS, "404"),
            security=SUBSCRIBER,
            takes=("channel",),
        )
    },
    "/tokens/{jti}": {
        "delete": operation(
            "Revoke a signed token: it is 401 from now on, and its streams end.",
            {"204": answer("It is revoked. So it was, perhaps, before.")},
            CREDENTIALS,
            security=ADMIN,
            takes=("jti",),
        )
    },
    "/metrics": {
        "get": operation(
            "What has been counted, for Prometheus; summed over the workers.",
            {"200": answer("The metrics.", {"text/plain": TEXT, "application/openmetrics-text": TEXT})},
            CREDENTIALS,
            security=ADMIN,
        )
    },
    "/status": {
        "get": operation(
            "The live page for administration: it never finishes loading.",
            {"200": answer(_lasts("html"), {"text/html": TEXT})},
            CREDENTIALS,
            security=WATCHER,
            takes=("still",),
        )
    },
    "/status.json": {
        "get": operation(
            "What that page shows, once; it takes up to a second, because rates do.",
            {"200": answer("The figures.", {"application/json": {"type": "object"}})},
            CREDENTIALS,
            security=WATCHER,
        )
    },
    "/sup.json": {
        "get": operation(
            "Which channels have changed of late, by the Simple Update Protocol.",
            {
                "200": answer("The document.", json("Sup"), "ETag"),
                "304": answer("It is still the one of `If-None-Match`.", None, "ETag"),
            },
            ("400", "503"),
            security=ANYBODY,
            takes=("seconds", "If-None-Match"),
        )
    },
    "/comet{file}": {
        "get": operation(
            "The browser client; under its name with a version it never changes.",
            {
                "200": answer("The file.", {"text/javascript": TEXT, "text/plain": TEXT}, "ETag"),
                "304": answer("It is still the one of `If-None-Match`.", None, "ETag"),
            },
            ("404",),
            security=ANYBODY,
            takes=("file", "If-None-Match"),
        )
    },
    "/healthz": {
        "get": operation(
            "The process runs.",
            {"200": answer("It does.", {"text/plain": TEXT}, "Comet-Reached-By")},
            security=ANYBODY,
        )
    },
    "/readyz": {
        "get": operation(
            "Streams and updates are taken: not draining, not full, the broker within reach.",
            {"200": answer("They are.", {"text/plain": TEXT})},
            ("503",),
            security=ANYBODY,
        )
    },
    "/openapi.json": {
        "get": operation(
            "This document.", {"200": answer("It.", {"application/json": {"type": "object"}})}, security=ANYBODY
        )
    },
}
