"""Administration of tokens over HTTP."""

from __future__ import annotations

from ..tokens import check_jti
from .current import worker


def revoke(jti: str) -> tuple[str, int]:
    """``DELETE /tokens/JTI``: the token is good no more, and the streams that rest on it end."""
    comet = worker()
    check_jti(jti)
    comet.access.check_write("admin", [])
    comet.revocations.revoke(jti)
    return "", 204
