"""Options that several commands have: where the server is, and what is shown to it."""

from __future__ import annotations

import os

import click

from .remote import Remote


DEFAULT_URL = "http://127.0.0.1:4071"

url = click.option(
    "--url",
    envvar="COMET_URL",
    default=DEFAULT_URL,
    metavar="URL",
    help=f"The server: else COMET_URL, or {DEFAULT_URL}.",
)
token = click.option("--token", metavar="TOKEN", help="A signed token: else COMET_TOKEN.")
as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


def publisher(url: str, token: str | None) -> Remote:
    """The server, for who publishes: a token that is typed wins over the key, and that over a token of the
    environment."""
    return Remote(url, token or _key() or os.environ.get("COMET_TOKEN", ""))


def administrator(url: str) -> Remote:
    """The server, for who administers."""
    return Remote(url, _key())


def subscriber(url: str, token: str | None) -> Remote:
    """The server, for who reads: the key is no credential there."""
    return Remote(url, token or os.environ.get("COMET_TOKEN", ""))


def _key() -> str:
    """The first of the keys."""
    return os.environ.get("COMET_PUBLISH_KEY", "").split(",")[0].strip()
