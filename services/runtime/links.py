"""Signed, expiring links to transcript pages, and the settings of those who make or open them.

The one rule: the same arguments give the same link on any machine, because links stand in records that must be
repeatable; so the expiry is part of what is signed, and nothing here reads a clock or compresses.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Self, TypeAlias

import orjson
from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode
from pydantic import Field, SecretStr, model_validator

from services.runtime.connection import secret_of
from services.runtime.settings import RuntimeSettings

LINK_PATH = "/t/"
SECRET_CHARS_MIN = 16
TOKEN_CHARS_MAX = 2_048
SIGNERS_KEPT = 4
DAY_S = 24 * 3600
_SALT = b"chat-routing.transcript-link"


class LinkSettings(RuntimeSettings):
    """What makers and openers of links are told, in the same words; a worker's own settings class derives from it."""

    public_url: str = Field(
        default="http://127.0.0.1:9103",
        pattern="^https?://",
        description="where people reach the pages; what links in mails and CRM begin with",
    )
    link_secret: SecretStr | None = Field(
        default=None,
        description=f"signs the links to transcripts; at least {SECRET_CHARS_MIN} characters, the same for notifier and transcript",
    )
    link_secret_file: Path | None = Field(
        default=None, description="a file that holds the secret, instead of CHAT_LINK_SECRET"
    )
    link_lifetime_s: float = Field(
        default=90 * DAY_S, gt=0, description="how long a link works after the chat's end"
    )

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if (self.link_secret is None) == (self.link_secret_file is None):
            raise ValueError("set either CHAT_LINK_SECRET or CHAT_LINK_SECRET_FILE")
        try:
            chars = len(self.secret)
        except (OSError, UnicodeDecodeError):
            raise ValueError("CHAT_LINK_SECRET_FILE can't be read") from None
        if chars < SECRET_CHARS_MIN:
            raise ValueError(f"the link secret needs at least {SECRET_CHARS_MIN} characters")
        return self

    @property
    def secret(self) -> str:
        """The secret, from wherever it is kept."""
        secret = secret_of(self.link_secret, self.link_secret_file)
        assert secret is not None, "the validator saw to it"
        return secret


LinkMaker: TypeAlias = Callable[[str, str, int, int], str]
"""Makes a link from workspace, chat, revision and the milliseconds its lifetime counts from."""


class LinkInvalid(Exception):
    """The token was not made with this secret, or was changed."""


class LinkExpired(Exception):
    """The token is genuine, but its time is over."""


@dataclass(frozen=True, slots=True)
class TranscriptLink:
    """What a link opens, when it was made (its lifetime counts from then), and until when it works."""

    workspace_id: str
    chat_id: str
    revision: int
    made_at_ms: int
    expires_at_ms: int


@lru_cache(maxsize=SIGNERS_KEPT)
def _signer(secret: str) -> Signer:
    if len(secret) < SECRET_CHARS_MIN:
        raise ValueError(f"the link secret needs at least {SECRET_CHARS_MIN} characters")
    return Signer(secret, salt=_SALT, key_derivation="hmac", digest_method=sha256)


def transcript_link(base_url: str, secret: str, opens: TranscriptLink) -> str:
    """The address of a transcript's page: `<base_url>/t/<token>`. Raises ValueError when the secret is too short."""
    payload = base64_encode(orjson.dumps(astuple(opens)))
    return f"{base_url.rstrip('/')}{LINK_PATH}{_signer(secret).sign(payload).decode()}"


def links(*, base_url: str, secret: str, lifetime_s: float) -> LinkMaker:
    """Makes the links of transcripts: the same for the same chat, since they stand in records that must be repeatable."""
    lifetime_ms = int(lifetime_s * 1000)

    def link(workspace_id: str, chat_id: str, revision: int, ended_ms: int) -> str:
        opens = TranscriptLink(workspace_id, chat_id, revision, ended_ms, ended_ms + lifetime_ms)
        return transcript_link(base_url, secret, opens)

    return link


def read_link(token: str, secret: str, now_ms: int) -> TranscriptLink:
    """What the token of a link opens. Raises LinkInvalid or LinkExpired."""
    if len(token) > TOKEN_CHARS_MAX:
        raise LinkInvalid("too long")
    try:
        payload = _signer(secret).unsign(token.encode())
        opens = TranscriptLink(*orjson.loads(base64_decode(payload)))
    except (BadData, ValueError, TypeError):
        raise LinkInvalid("not a link of this installation") from None
    if now_ms >= opens.expires_at_ms:
        raise LinkExpired("expired")
    return opens
