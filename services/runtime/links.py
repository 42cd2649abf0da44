"""Signed, expiring links to transcript pages.

The one rule: the same arguments give the same link on any machine, because links stand in records that must be
repeatable; so the expiry is part of what is signed, and nothing here reads a clock or compresses.
"""

from dataclasses import dataclass
from hashlib import sha256

import orjson
from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode

LINK_PATH = "/t/"
SECRET_CHARS_MIN = 16
TOKEN_CHARS_MAX = 2_048
_SALT = b"chat-routing.transcript-link"


class LinkInvalid(Exception):
    """The token was not made with this secret, or was changed."""


class LinkExpired(Exception):
    """The token is genuine, but its time is over."""


@dataclass(frozen=True, slots=True)
class TranscriptLink:
    """What a link opens, and until when."""

    workspace_id: str
    chat_id: str
    revision: int
    expires_at_ms: int


def _signer(secret: str) -> Signer:
    if len(secret) < SECRET_CHARS_MIN:
        raise ValueError(f"the link secret needs at least {SECRET_CHARS_MIN} characters")
    return Signer(secret, salt=_SALT, key_derivation="hmac", digest_method=sha256)


def transcript_link(
    base_url: str, secret: str, workspace_id: str, chat_id: str, revision: int, expires_at_ms: int
) -> str:
    """The address of a transcript's page: `<base_url>/t/<token>`. Raises ValueError when the secret is too short."""
    payload = base64_encode(orjson.dumps([workspace_id, chat_id, revision, expires_at_ms]))
    return f"{base_url.rstrip('/')}{LINK_PATH}{_signer(secret).sign(payload).decode()}"


def read_link(token: str, secret: str, now_ms: int) -> TranscriptLink:
    """What the token of a link opens. Raises LinkInvalid or LinkExpired."""
    if len(token) > TOKEN_CHARS_MAX:
        raise LinkInvalid("too long")
    try:
        payload = _signer(secret).unsign(token.encode())
        workspace_id, chat_id, revision, expires_at_ms = orjson.loads(base64_decode(payload))
    except (BadData, ValueError):
        raise LinkInvalid("not a link of this installation") from None
    if now_ms >= expires_at_ms:
        raise LinkExpired("expired")
    return TranscriptLink(workspace_id, chat_id, revision, expires_at_ms)
