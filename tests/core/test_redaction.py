"""Redaction: no token stands in a log."""

from __future__ import annotations

import pytest

from comet.core.redaction import redact


TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f'"GET /x/sse?token={TOKEN}&last=1 HTTP/1.1" 200', '"GET /x/sse?token=…&last=1 HTTP/1.1" 200'),
        ("/x?last=1&token=opaque", "/x?last=1&token=…"),
        ("token=opaque&last=1", "token=…&last=1"),
        ("/x?%74oken=opaque", "/x?%74oken=…"),
        ("/x?%74%6F%6b%65%6E=opaque;x", "/x?%74%6F%6b%65%6E=…;x"),
        (f"/x?t={TOKEN}", "/x?t=…"),
        (f"/channels/{TOKEN}/sse", "/channels/…/sse"),
        (f"authorization: Bearer {TOKEN}", "authorization: Bearer …"),
        ("Cookie: a=b; comet_token=opaque; c=d", "Cookie: a=b; comet_token=…; c=d"),
        (f"Cookie: other={TOKEN}", "Cookie: other=…"),
        ("eyJhbGciOiJIUzI1NiJ9.cut", "…"),
        (f"Bearer eyAi{TOKEN[3:]} ewo{TOKEN[3:]} ew0KICJ{TOKEN[3:]}", "Bearer … … …"),
        ("'eyJhbGciOiJIUzI1NiJ9…' is no name", "'……' is no name"),
        ("/x/eyes.left,ewe.right eyewitness-of-may.news", "/x/eyes.left,ewe.right eyewitness-of-may.news"),
        ("/x?since=k3f9tq-1042&tokens=3&token=", "/x?since=k3f9tq-1042&tokens=3&token="),
        ("k3f9tq.example.org eyJ", "k3f9tq.example.org eyJ"),
    ],
)  # fmt: skip
def test_redact(text: str, redacted: str) -> None:
    """What is named as a token, or looks like one, is taken out; all else stays."""
    assert redact(text) == redacted
