"""What the operations of the document have in common, by name: schemas, parameters, headers, refusals, credentials."""

from __future__ import annotations

from http.client import responses
from typing import Any

from ...core.cursor import CURSOR
from ...core.redaction import COOKIE, PARAMETER
from ...core.update import CHANNEL, CONTROL_NAMES, KEY, TYPE
from ...tokens import JTI
from .. import parameters
from ..sup import PERIODS, USUAL


Schema = dict[str, Any]


def ref(kind: str, name: str) -> Schema:
    return {"$ref": f"#/components/{kind}/{name}"}


def _whole(pattern: str) -> str:
    """The pattern that a whole text must match: in JSON Schema a part of it would do."""
    return f"^(?:{pattern})$"


def _object(description: str, required: Schema, optional: Schema | None = None) -> Schema:
    return {
        "type": "object",
        "description": description,
        "required": list(required),
        "properties": required | (optional or {}),
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_COUNT = {"type": "integer", "minimum": 0}
_RFC3339 = {"type": "string", "format": "date-time"}
_ID, _CHANNEL, _EVENT, _TYPE = (ref("schemas", name) for name in ("Id", "Channel", "Event", "MediaType"))
_ID_OR_NULL = {"anyOf": [_ID, {"type": "null"}]}

#: Controls and what ends a line, which no event has; and the blanks, which none begins with.
_ENDS = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
_BLANKS = r" \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"

_BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"

SCHEMAS: dict[str, Schema] = {
    "Id": {
        "type": "string",
        "pattern": _whole(CURSOR.pattern),
        "description": "A place in the log, and as a cursor: everything up to here is known.",
        "examples": ["k3f9tq2m-1042"],
    },
    "Channel": {
        "type": "string",
        "pattern": _whole(rf"(?!comet\.|(?:{'|'.join(sorted(CONTROL_NAMES))})$){CHANNEL.pattern}"),
        "examples": ["orders"],
    },
    "Channels": {
        "type": "array",
        "items": _CHANNEL,
        "minItems": 1,
        "maxItems": parameters.MOST_CHANNELS,
        "description": "Names joined by commas.",
    },
    "Event": {
        "type": "string",
        "pattern": _whole(rf"(?!comet\.|(?:open|error)$)[^{_BLANKS}{_ENDS}][^{_ENDS}]{{0,127}}"),
        "examples": ["added"],
    },
    "MediaType": {"type": "string", "maxLength": 128, "pattern": _whole(TYPE.pattern)},
    "Update": _object(
        "One published thing.",
        {
            "id": _ID,
            "channel": _CHANNEL,
            "event": {"anyOf": [_EVENT, {"type": "null"}]},
            "type": _TYPE,
            "data": {"type": "string"},
            "time": {"type": "number", "description": "Seconds since 1970."},
        },
        {"encoding": {"const": "base64", "description": "There if the data is not UTF-8."}},
    ),
    "Gap": _object(
        "Updates after `since` that can no longer be supplied.",
        {
            "since": {"type": "string", "maxLength": 64, "description": "The cursor as it was sent, cut."},
            "first": _ID_OR_NULL | {"description": "The first update that follows, if any."},
            "reason": {"enum": ["trimmed", "epoch", "future", "unknown"]},
        },
    ),
    "Poll": _object(
        "What a poll is told.",
        {
            "updates": _list(ref("schemas", "Update")),
            "cursor": _ID,
            "gap": {"anyOf": [ref("schemas", "Gap"), {"type": "null"}]},
            "closed": _list(_CHANNEL) | {"description": "Channels that were deleted: the answer ends with them."},
        },
    ),
    "Line": {
        "description": "What `ndjson` writes on a line; `iframe` and `sse` with `envelope=1` carry the same objects.",
        "anyOf": [
            ref("schemas", "Update"),
            _object("Something is missing here.", {"gap": ref("schemas", "Gap")}),
            _object("The channel was deleted.", {"closed": _CHANNEL}),
            _object("The token ends in so many seconds; 0: it has.", {"expiring": _COUNT}),
        ],
    },
    "Info": _object(
        "What is kept of a channel.",
        {
            "channel": _CHANNEL,
            "first": _ID_OR_NULL,
            "last": _ID_OR_NULL,
            "time": {"type": ["number", "null"], "description": "When the last one was published."},
            "stored": _COUNT,
            "bytes": _COUNT,
            "subscribers": _COUNT,
        },
    ),
    "List": _object("All channels.", {"channels": _list(ref("schemas", "Info"))}),
    "Published": _object(
        "The broker has it.",
        {"id": _ID, "channel": _CHANNEL, "subscribers": _COUNT},
        {"duplicate": {"const": True, "description": "The key was known: `id` is that of the first time."}},
    ),
    "BatchLine": _object(
        "A line of a batch. Null is as good as nothing.",
        {"channel": _CHANNEL, "data": {"type": "string"}},
        {
            "event": {"anyOf": [_EVENT, {"type": "null"}]},
            "type": {"anyOf": [_TYPE, {"type": "null"}]},
            "encoding": {"enum": ["base64", None]},
            "key": {"type": ["string", "null"], "pattern": _whole(KEY.pattern)},
        },
    )
    | {
        "if": {"required": ["encoding"], "properties": {"encoding": {"const": "base64"}}},
        "then": {"properties": {"data": {"pattern": _whole(_BASE64)}}},
    },
    "Batch": _object("The broker has all of them.", {"count": _COUNT, "duplicates": _COUNT, "first": _ID, "last": _ID}),
    "Sup": _object(
        "Which channels have changed of late, by the Simple Update Protocol.",
        {
            "updated_time": _RFC3339,
            "since_time": _RFC3339,
            "period": {"enum": list(PERIODS)},
            "available_periods": {"type": "object", "additionalProperties": {"type": "string"}},
            "updates": _list(
                {
                    "type": "array",
                    "prefixItems": [{"type": "string", "pattern": "^[0-9a-f]{10}$"}, _ID],
                    "minItems": 2,
                    "maxItems": 2,
                }
            ),
        },
    ),
    "Problem": _object(
        "What failed, and what would have been right.",
        {
            "type": {"const": "about:blank"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
        },
    ),
}


def _query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _header(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "header", "schema": schema, "description": description}


def _channel(schema: Schema) -> Schema:
    return {"name": "channel", "in": "path", "required": True, "style": "simple", "schema": schema}


def _between(kind: str, bounds: tuple[float, float]) -> Schema:
    return {"type": kind, "minimum": bounds[0], "maximum": bounds[1]}


PARAMETERS: dict[str, Schema] = {
    "channel": _channel(_CHANNEL),
    "channels": _channel(ref("schemas", "Channels")),
    "jti": {
        "name": "jti",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "maxLength": 128, "pattern": _whole(JTI.pattern)},
        "description": "The claim jti of the token.",
    },
    "file": {
        "name": "file",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "maxLength": 40, "pattern": "^[a-z0-9.-]+$", "examples": [".js", ".mjs", ".d.ts"]},
        "description": "What follows in the name: comet.js, say.",
    },
    "since": _query(
        "since",
        {"type": "string"},
        "Everything after this id. One that is none, or that the log has no more, is told a gap and is never an error.",
    ),
    "Last-Event-ID": _header("Last-Event-ID", {"type": "string"}, "As `since`, and wins over it."),
    "last": _query(
        "last", _COUNT, "Without an id: so many of the newest updates of each channel first (else COMET_REPLAY)."
    ),
    "rate": _query(
        "rate",
        _between("number", parameters.RATES),
        "At most so many writes a second; where channel or wire conflate, only the newest of what waited is written.",
    ),
    "timeout": _query(
        "timeout",
        _between("number", parameters.TIMEOUTS),
        "Seconds to wait for something to tell (else COMET_POLL_TIMEOUT).",
    ),
    "limit": _query(
        "limit",
        _between("integer", parameters.LIMITS) | {"default": parameters.LIMIT},
        "At most so many updates.",
    ),
    "envelope": _query(
        "envelope",
        {"enum": ["0", "1"], "default": "0"},
        "1: data is the update as JSON, and only what comet itself tells has an event's name: comet.gap, say.",
    ),
    "callback": _query(
        "callback",
        {"type": "string", "maxLength": 64, "pattern": _whole(parameters.CALLBACK.pattern), "default": "callback"},
        "The JavaScript function to call.",
    ),
    "origin": _query(
        "origin",
        {"type": "string", "pattern": _whole(parameters.ORIGIN.pattern)},
        "The origin whose pages may read the messages: this server's own, or one of COMET_ALLOWED_ORIGINS.",
    ),
    "event": _query("event", _EVENT, "The name of the event; wins over `Comet-Event`."),
    "Comet-Event": _header("Comet-Event", _EVENT, "The name of the event, in UTF-8."),
    "Idempotency-Key": _header(
        "Idempotency-Key",
        {"type": "string", "maxLength": 128, "pattern": "^[!-~](?:[ -~]*[!-~])?$"},
        "The same key again, within COMET_IDEMPOTENCY_SECONDS, publishes nothing.",
    ),
    "If-None-Match": _header("If-None-Match", {"type": "string"}, "The `ETag` of an earlier answer."),
    "still": _query("still", {"enum": ["0", "1"], "default": "0"}, "1: the page as it is now, which ends."),
    "seconds": _query("seconds", {"enum": list(PERIODS), "default": USUAL}, "How far back the document reaches."),
}

HEADERS: dict[str, Schema] = {
    "Comet-Cursor": {
        "required": True,
        "schema": _ID,
        "description": "The place before the first update: who resumes from it gets at least what this answer gives.",
    },
    "Comet-Reached-By": {
        "required": True,
        "schema": {"type": "string", "pattern": r"^HTTP/[0-9.]+(, forwarded)?$"},
        "description": "The version of HTTP that the request has come by, and whether a proxy has said for whom.",
    },
    "ETag": {"required": True, "schema": {"type": "string"}},
    "X-SUP-ID": {
        "schema": {"type": "string"},
        "description": "The SUP document that tells of this channel, # and its SUP-ID; not of a private channel.",
    },
    "Retry-After": {
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
        "description": "Seconds after which a new attempt makes sense.",
    },
    "WWW-Authenticate": {"required": True, "schema": {"type": "string"}},
}

SECURITY: dict[str, Schema] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of COMET_PUBLISH_KEY, or a signed token (JWT) with the claim "
        '{"comet":{"publish":[…],"subscribe":[…]}}: names of channels, or prefixes ending in *.',
    },
    "password": {
        "type": "http",
        "scheme": "basic",
        "description": "A key of COMET_PUBLISH_KEY as the password, whoever the user is: what a browser asks for.",
    },
    "token": {
        "type": "apiKey",
        "in": "query",
        "name": PARAMETER,
        "description": "A signed token, from what can't send headers.",
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "A signed token; it counts on the server's own pages.",
    },
}


def _refusal(status: int, description: str, *headers: str) -> Schema:
    return {
        "description": f"{responses[status]}: {description}",
        "headers": {name: ref("headers", name) for name in headers},
        "content": {"application/problem+json": {"schema": ref("schemas", "Problem")}},
    }


REFUSALS: dict[str, Schema] = {
    "400": _refusal(400, "a name, a parameter or the body can't be right."),
    "401": _refusal(401, "a credential is missing, or it fails.", "WWW-Authenticate"),
    "403": _refusal(403, "the credential does not grant this, or a page of another site asks for it."),
    "404": _refusal(404, "nothing is kept of the channel, it never was, or there is no such file."),
    "408": _refusal(408, "the body stopped coming for COMET_WRITE_TIMEOUT."),
    "413": _refusal(413, "an update has at most COMET_MAX_UPDATE bytes, a batch 8 MiB."),
    "415": _refusal(
        415, "a charset other than utf-8, a Content-Encoding, or a batch that is not application/x-ndjson."
    ),
    "429": _refusal(429, "beyond a limit.", "Retry-After"),
    "503": _refusal(503, "full, stopping, or the broker is away.", "Retry-After"),
}
