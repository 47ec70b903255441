"""Strict readers of the wires, written from their specifications alone. What is not exactly right is an error."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from tests.core.pages import elements


@dataclass
class Event:
    """An event that an EventSource would dispatch. ``id`` is the last one seen, as in the browser."""

    id: str
    event: str
    data: str


def event_stream(stream: bytes) -> tuple[list[Event], list[str]]:
    """Read an event stream as WHATWG HTML, section 9.2.6, says: the events, and the values of ``retry``.

    Stricter than that: what is not UTF-8, a field that it does not know, and half a block at the end are errors.
    """
    text = stream.decode("utf-8").removeprefix("\ufeff")
    lines = re.split("\r\n|\r|\n", text)
    assert lines.pop() == "", "the last line has no end"
    events, retries = [], []
    last_id, event, data = "", "", []
    for line in lines:
        if line == "":
            if data:
                events.append(Event(last_id, event or "message", "\n".join(data)))
            event, data = "", []
            continue
        name, colon, value = line.partition(":")
        if name == "":
            continue  # a comment
        assert colon, f"a line without a colon: {line!r}"
        value = value.removeprefix(" ")
        match name:
            case "data":
                data.append(value)
            case "event":
                event = value
            case "id":
                assert "\0" not in value
                last_id = value
            case "retry":
                assert re.fullmatch("[0-9]+", value, re.ASCII)
                retries.append(value)
            case _:
                raise AssertionError(f"a field {name!r}")
    assert not event and not data, "half a block at the end"
    return events, retries


def json_value(text: str) -> Any:
    """Read JSON as RFC 8259 says: no name twice, no NaN."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({name for name, _ in pairs}) == len(pairs)
        return dict(pairs)

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)


def json_lines(stream: bytes) -> list[Any]:
    """Read newline-delimited JSON. A line is one line to every reader, also to those that split at U+2028."""
    text = stream.decode("utf-8")
    lines = text.split("\n")
    last = lines.pop()
    assert last.strip(" ") == "", "the last line has no end"
    assert text.splitlines() == lines + ([last] if last else [])
    values = [json_value(line.lstrip(" ")) for line in lines]
    assert all(isinstance(value, dict) for value in values)
    return values


def script_call(script: bytes, callback: str) -> Any:
    """Read the script of a jsonp answer: one call of the callback with one JSON value, and no line end in it."""
    text = script.decode("utf-8")
    assert len(text.splitlines()) == 1
    begin, end = f"/**/{callback}(", ");"
    assert text.startswith(begin) and text.endswith(end)
    return json_value(text[len(begin) : -len(end)])


def parts(stream: bytes, boundary: bytes) -> list[tuple[dict[str, str], bytes]]:
    """Read an endless multipart body as RFC 2046 says: header and body of each part that is whole.

    As browsers do, it finds a boundary anywhere, not only at the beginning of a line.
    """
    delimiter = b"--" + boundary
    assert stream.startswith(delimiter + b"\r\n")
    found = []
    *whole, last = stream.split(delimiter)[1:]
    for part in whole:
        assert part.startswith(b"\r\n") and part.endswith(b"\r\n")
        head, separator, body = part[2:-2].partition(b"\r\n\r\n")
        assert separator
        found.append((_header(head), body))
    assert last == b"\r\n" or (last.startswith(b"\r\n") and last.endswith(b"\r\n\r\n") and _header(last[2:-4]))
    return found


def _header(head: bytes) -> dict[str, str]:
    fields = [line.partition(": ") for line in head.decode("ascii").split("\r\n")]
    assert all(re.fullmatch("[A-Za-z-]+", name) and colon and value.isprintable() for name, colon, value in fields)
    return {name: value for name, _, value in fields}


def messages(page: bytes) -> list[tuple[Any, str]]:
    """Read the page of a forever-iframe: what each script posts, and to whom. Scripts are all that it has."""
    text = page.decode("utf-8")
    (body,) = elements(text, "body")
    found = []
    node = body.child
    while node is not None:
        if node.tag == "-text":
            assert node.html == "\n"
        elif node.tag != "-comment":
            assert node.tag == "script" and not node.attributes
            found.append(_posted(node.text()))
        node = node.next
    assert len(found) == len(elements(text, "script"))
    return found


def _posted(script: str) -> tuple[Any, str]:
    # A JavaScript string in double quotes that is JSON too; no "<", so that nothing ends the script or hides its end.
    string = r'"(?:[^"\\<>&\x00-\x1f\u2028\u2029]|\\(?:["\\/bfnrt]|u[0-9a-f]{4}))*"'
    match = re.fullmatch(rf"parent\.postMessage\(({string}),({string})\)", script)
    assert match, script
    return json_value(json_value(match[1])), json_value(match[2])
