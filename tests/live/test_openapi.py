"""The server keeps to its OpenAPI document: schemathesis tries each operation with what fits and what does not."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
import requests
import schemathesis
from hypothesis import given
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from comet.views.openapi import document
from tests.core.exploring import explore
from tests.live.server import Server
from tests.timing import PATIENCE


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    positive_data_acceptance,
    negative_data_rejection,
]


def described() -> schemathesis.BaseSchema:
    """The document as schemathesis understands it best."""
    found = copy.deepcopy(document("/"))
    for methods in found["paths"].values():
        for operation in methods.values():
            operation["security"] = []  # it would make up credentials; ``ask`` sends the right one
    batch = found["paths"]["/channels"]["post"]["requestBody"]["content"]["application/x-ndjson"]
    batch["schema"] = {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/BatchLine"}}
    del batch["example"]
    return schemathesis.openapi.from_dict(found)


@schemathesis.serializer("application/x-ndjson")
def lines(context: schemathesis.SerializationContext, value: Any) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in (value if isinstance(value, list) else [value]))


SCHEMA = described()
OPERATIONS = {result.ok().label: result.ok() for result in SCHEMA.get_all_operations()}
#: Where nothing is taken nothing can be wrong.
TRIES = [
    (label, mode)
    for label, operation in OPERATIONS.items()
    for mode in GenerationMode
    if mode.is_positive or operation.body or any(True for _ in operation.iter_parameters())
]


#: These wait for an update; ``server`` has one every moment on ``LIVELY``.
WAITING = ("/{channel}", "/{channel}/poll", "/{channel}/jsonp")
LIVELY = ("orders", "0")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(allowed_origins="*") as running:
        over = threading.Event()
        publisher = threading.Thread(target=publish, args=(running, over))
        publisher.start()
        try:
            yield running
        finally:
            over.set()
            publisher.join()


def publish(server: Server, over: threading.Event) -> None:
    while not over.wait(0.02):
        for channel in LIVELY:
            server.publish(channel, b"\xff", "application/octet-stream", **{"Comet-Event": "added"})


@pytest.mark.parametrize("label", OPERATIONS)
def test_edges(server: Server, label: str) -> None:
    """Each parameter at its bounds and beyond them, and methods that the path does not take."""
    operation = OPERATIONS[label]
    config = SCHEMA.config.generation_for(operation=operation)
    cases = SCHEMA.iter_coverage_cases(operation, generation_modes=list(GenerationMode), generation_config=config)
    with requests.Session() as session:
        for case in cases:
            try_out(server, session, case)


@pytest.mark.parametrize(("label", "mode"), TRIES)
def test_at_random(server: Server, label: str, mode: GenerationMode) -> None:
    """Whatever else fits, or does not."""
    explore_by(server, label, mode, 6)


@pytest.mark.soak
@pytest.mark.parametrize(("label", "mode"), TRIES)
def test_long_at_random(server: Server, label: str, mode: GenerationMode) -> None:
    """The same, farther."""
    explore_by(server, label, mode, 100)


def explore_by(server: Server, label: str, mode: GenerationMode, examples: int) -> None:
    operation = OPERATIONS[label]
    known = {"channel": LIVELY[0]} if operation.path.endswith(WAITING) and operation.method == "get" else None
    with requests.Session() as session:

        @given(case=operation.as_strategy(mode, path_parameters=known))
        @explore(examples)
        def holds(case: Case[Any]) -> None:
            try_out(server, session, case)

        holds()


def try_out(server: Server, session: requests.Session, case: Case[Any]) -> None:
    response = ask(server, session, case)
    if response is not None:
        checks = [not_a_server_error] if is_elsewhere(case) else CHECKS
        excluded = [negative_data_rejection] if is_let_pass(case) else []
        case.validate_response(response, checks=checks, excluded_checks=excluded)


def is_elsewhere(case: Case[Any]) -> bool:
    """Whether a name has a slash or a line feed in it, so that its path may be another one."""
    return any(set(unquote(str(part))) & {"/", "\n"} for part in case.path_parameters.values())


def is_let_pass(case: Case[Any]) -> bool:
    """Whether it may be right although the document says no: there is no schema for these two."""
    names = unquote(case.path_parameters.get("channel", "")).split(",")
    named_twice = len(set(names)) < len(names)  # counts once: 17 names may be 16 then, and two be one
    negotiated = case.path.endswith("/{channel}") and case.method == "GET"  # a wire ignores what others take
    return named_twice or negotiated


def ask(server: Server, session: requests.Session, case: Case[Any], patience: float = 0.3) -> Response | None:
    """The answer, of a stream only the head. None: a poll that waits, as it may."""
    may_wait = case.path.endswith(WAITING) and case.method == "GET"
    seconds = (patience if may_wait else 10.0) * PATIENCE
    sent = case.as_transport_kwargs(base_url=server.url, headers=server.auth)
    try:
        with session.request(**sent, stream=True, timeout=seconds) as response:
            if "X-Accel-Buffering" in response.headers:
                response._content = b""
            return Response.from_requests(response, verify=True)
    except requests.ReadTimeout:
        assert may_wait, case
        return None
    except requests.ConnectionError:
        if not may_wait or patience > 1:
            raise
        return ask(server, session, case, 10.0)  # its head was there; on a slow machine the rest comes later
