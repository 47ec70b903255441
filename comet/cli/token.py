"""``token``: a signed token."""

from __future__ import annotations

import json
import re

import click

from .. import tokens
from ..core.errors import BadRequest, SettingsError
from . import environment, output
from .failures import WRONG, fail


@click.command()
@click.option("--publish", multiple=True, metavar="NAME", help="A channel, or a prefix ending in *. May be repeated.")
@click.option("--subscribe", multiple=True, metavar="NAME", help="The same, for reading.")
@click.option(
    "--expires", default="1h", show_default=True, metavar="TIME", help="How long it is good: 30s, 15m, 1h, 7d."
)
@click.option("--json", "as_json", is_flag=True, help="Tell its jti, too: by that it is revoked (DELETE /tokens/JTI).")
def token(publish: tuple[str, ...], subscribe: tuple[str, ...], expires: str, as_json: bool) -> None:
    """Make a signed token, with the first key of COMET_JWT_KEY.

    For example:

        python -m comet token --publish 'orders*' --subscribe '*' --expires 1h
    """
    secrets = environment.settings().jwt_key
    if not secrets:
        fail("COMET_JWT_KEY is not set: it is what tokens are signed with. openssl rand -hex 32 makes one.", WRONG)
    if not publish and not subscribe:
        fail("such a token would grant nothing: name channels with --publish or --subscribe.", WRONG)
    seconds, jti = _seconds(expires), tokens.new_jti()
    try:
        made = tokens.make(secrets[0], publish=publish, subscribe=subscribe, seconds=seconds, jti=jti)
    except (BadRequest, SettingsError) as error:
        fail(str(error), WRONG)
    output.say(json.dumps({"token": made, "jti": jti}) if as_json else made)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", text, re.ASCII)
    if not match:
        fail(f"--expires {text[:40]!r} is no time: it takes a number and its unit, such as 30s, 15m, 1h or 7d.", WRONG)
    return int(match[1]) * _UNITS[match[2]]
