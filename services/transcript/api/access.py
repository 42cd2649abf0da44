"""Who may read what through the API: signed tokens, and the table of what each role sees.

The one rule: what is not in `MAY_READ` is refused. A token says who asks; how far an agent's rights go is what the archive
knows of them now, so somebody who was demoted or removed reads no more than they should, whatever their token says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, TypeAlias, get_args

from itsdangerous import BadData, URLSafeSerializer
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from schemas.types import CrmRight, Id
from services.runtime.connection import secret_of
from services.runtime.links import SECRET_CHARS_MIN
from services.runtime.problems import Refused
from services.runtime.settings import RuntimeSettings

TOKEN_CHARS_MAX = 2_048
TOKEN_LIFETIME_S_MAX = 90 * 24 * 3600
"""A token can't be taken back but by a new secret or, for an agent, by removing the agent."""
_SALT = b"chat-routing.api-token"

Role: TypeAlias = Literal["visitor", "agent", "supervisor", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""From least to most."""
Noun: TypeAlias = Literal[
    "departments",
    "available_agents",
    "queue",
    "chats",
    "visitors",
    "missed",
    "notes",
    "monitored",
    "canned",
    "tags",
    "callers",
]
Extent: TypeAlias = Literal["none", "public", "own", "theirs", "watchable", "all"]

MAY_READ: Mapping[Noun, Mapping[Role, Extent]] = MappingProxyType(
    {
        "departments": {"visitor": "public", "agent": "all", "supervisor": "all", "admin": "all"},
        "available_agents": {"visitor": "none", "agent": "all", "supervisor": "all", "admin": "all"},
        "queue": {"visitor": "none", "agent": "theirs", "supervisor": "all", "admin": "all"},
        "chats": {"visitor": "none", "agent": "theirs", "supervisor": "watchable", "admin": "all"},
        "visitors": {"visitor": "none", "agent": "all", "supervisor": "all", "admin": "all"},
        "missed": {"visitor": "none", "agent": "theirs", "supervisor": "all", "admin": "all"},
        "notes": {"visitor": "none", "agent": "theirs", "supervisor": "all", "admin": "all"},
        "monitored": {"visitor": "none", "agent": "none", "supervisor": "own", "admin": "own"},
        "canned": {"visitor": "none", "agent": "theirs", "supervisor": "theirs", "admin": "all"},
        "tags": {"visitor": "none", "agent": "all", "supervisor": "all", "admin": "all"},
        "callers": {"visitor": "none", "agent": "all", "supervisor": "all", "admin": "all"},
    }
)
"""How much of each noun a role reads.

- public: enabled public departments.
- own: what belongs to who asks: the chats their own monitors match.
- theirs: of their departments, and chats they had or were given out of the missed inbox; of canned messages the general ones too.
- watchable: `theirs`, missed chats, and chats whose agents the monitoring matrix lets them watch (`WATCHED_BY`).
- all: of the workspace. Nobody reads of another workspace.

Of `visitors`, who a chat is with, everybody on the staff reads, since a CRM's card of them is everybody's; of `callers` each themselves.
"""

WATCHED_BY: Mapping[Role, tuple[Role, ...]] = MappingProxyType(
    {"visitor": (), "agent": (), "supervisor": ("agent",), "admin": ("supervisor", "agent")}
)
"""The contract's monitoring matrix: whose chats a role may watch."""


class Token(BaseModel):
    """What a token says: whose it is, and until when. Agents and supervisors are named; an admin's may be a program's."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    workspace: Id
    role: Role
    agent: Id | None = None
    expires_at_ms: int = Field(ge=0)

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.role == "visitor" and self.agent is not None:
            raise ValueError("a visitor's token names no agent")
        if self.role in ("agent", "supervisor") and self.agent is None:
            raise ValueError("the token of an agent or a supervisor names them")
        return self


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as the archive knows them. `departments`: those the agent is in; `crm`: what they may do with the CRM."""

    workspace_id: str
    role: Role
    agent_id: str | None = None
    departments: tuple[str, ...] = ()
    crm: CrmRight = "none"

    def extent(self, noun: Noun) -> Extent:
        """How much of a noun they read; 'none' is refused."""
        return MAY_READ[noun][self.role]


class ApiSettings(RuntimeSettings):
    """Where the secret is kept; a worker's own settings class derives from it. Without one the API is not served."""

    api_secret: SecretStr | None = Field(
        default=None,
        description=f"signs the tokens of the read API; at least {SECRET_CHARS_MIN} characters; without one the API is not served",
    )
    api_secret_file: Path | None = Field(
        default=None, description="a file that holds this secret, instead of CHAT_API_SECRET"
    )

    @model_validator(mode="after")
    def _one_api_secret_at_most(self) -> Self:
        if self.api_secret is not None and self.api_secret_file is not None:
            raise ValueError("set either CHAT_API_SECRET or CHAT_API_SECRET_FILE")
        try:
            secret = self.token_secret
        except (OSError, UnicodeDecodeError):
            raise ValueError("CHAT_API_SECRET_FILE can't be read") from None
        if secret is not None and len(secret) < SECRET_CHARS_MIN:
            raise ValueError(f"the API's secret needs at least {SECRET_CHARS_MIN} characters")
        return self

    @property
    def token_secret(self) -> str | None:
        """The secret, from wherever it is kept; None where none is set."""
        return secret_of(self.api_secret, self.api_secret_file)


def make_token(token: Token, *, secret: str) -> str:
    """The token as text, for a header `Authorization: Bearer …`."""
    return _serializer(secret).dumps(token.model_dump())


def read_token(header: str | None, *, secret: str, now_ms: int) -> Token:
    """What the `Authorization` header of a request says. Raises Refused."""
    scheme, _, text = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not text:
        raise Refused(401, "a bearer token was expected in the header Authorization")
    if len(text) > TOKEN_CHARS_MAX:
        raise Refused(401, "the token is not one of this installation")
    try:
        token = Token.model_validate(_serializer(secret).loads(text.strip()))
    except (BadData, ValidationError, ValueError):
        raise Refused(401, "the token is not one of this installation") from None
    if now_ms >= token.expires_at_ms:
        raise Refused(401, "the token has expired")
    return token


def _serializer(secret: str) -> URLSafeSerializer:
    options: dict[str, Any] = {"key_derivation": "hmac", "digest_method": sha256}
    return URLSafeSerializer(secret, salt=_SALT, signer_kwargs=options)


def lesser(one: Role, other: Role) -> Role:
    """The role that may do less."""
    return min(one, other, key=ROLES.index)
