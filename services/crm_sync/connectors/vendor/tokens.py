"""Renewed access tokens in the ledger's database: one worker renews, the others wait for what it got.

The one rule: the database holds nothing that opens an account. Tokens are sealed with a key made from the credentials, which stand in
the accounts file alone; other credentials are another row. As many rows stay as there were credentials.
"""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import BigInteger, String, Text, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from schemas.codec import dumps
from services.crm_sync.connectors.vendor.logins import Renew, Token
from services.runtime.database import make_tables, open_async
from services.runtime.effects import Unavailable
from services.runtime.wall_clock import now_ms

LEASE_MS = 60_000
"""How long a renewal may take before another worker tries: longer than all time-outs of the request."""
WAIT_MAX_S = 10.0
"""How long one waits for another's renewal before the record comes again later."""
LOOK_S = 0.1
"""Between two looks at a renewal that another worker is at."""
_TOKEN = TypeAdapter(Token)


class Base(DeclarativeBase):
    """The table of tokens."""


class TokenRow(Base):
    """The token of some credentials, sealed. `version` counts renewals; nobody else renews before `leased_until_ms`."""

    __tablename__ = "crm_sync_tokens"

    credentials: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int]
    leased_until_ms: Mapped[int] = mapped_column(BigInteger)
    sealed: Mapped[str | None] = mapped_column(Text)


@dataclass(frozen=True, slots=True)
class _Seal:
    """What credentials are called in the database, and what opens their token."""

    name: str
    key: Fernet

    @classmethod
    def of(cls, credentials: str) -> "_Seal":
        def derived(what: bytes) -> bytes:
            return HKDF(SHA256(), length=32, salt=None, info=what).derive(credentials.encode())

        return cls(
            derived(b"chat-routing crm name").hex(),
            Fernet(urlsafe_b64encode(derived(b"chat-routing crm token"))),
        )

    def closed(self, token: Token) -> str:
        return self.key.encrypt(dumps(token)).decode()

    def opened(self, sealed: str | None) -> Token | None:
        """The token, or None where there is none or somebody wrote something else there."""
        try:
            return None if sealed is None else _TOKEN.validate_json(self.key.decrypt(sealed))
        except (InvalidToken, ValidationError):
            return None


class Tokens:
    """The table above in the ledger's database. Make it with `open`."""

    def __init__(self, url: str, *, now_ms: Callable[[], int]) -> None:
        self._engine = open_async(url)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        self._now_ms = now_ms

    @classmethod
    async def open(cls, url: str, *, now_ms: Callable[[], int] = now_ms) -> "Tokens":
        """Open the database at `url` (`sqlite:///FILE` or `postgresql://…`) and make the table if it lacks it."""
        tokens = cls(url, now_ms=now_ms)
        async with tokens._engine.begin() as connection:
            await connection.run_sync(make_tables, Base.metadata)
        return tokens

    async def close(self) -> None:
        """Close the database."""
        await self._engine.dispose()

    async def renewed(self, credentials: str, *, is_good: Callable[[Token], bool], renew: Renew) -> Token:
        """Return the kept token if it is good, or the renewed one. Raises Unavailable."""
        seal = _Seal.of(credentials)
        try:
            async with asyncio.timeout(WAIT_MAX_S) as waiting:
                while True:
                    row = await self._row(seal.name)
                    token = seal.opened(row.sealed)
                    if token is not None and is_good(token):
                        return token
                    if await self._leased(row):
                        waiting.reschedule(None)
                        return await self._renew(row, seal, token, renew)
                    await asyncio.sleep(LOOK_S)
        except TimeoutError as error:
            raise Unavailable("token_awaited") from error
        except DBAPIError as error:
            raise Unavailable("database_unavailable") from error

    async def _renew(self, row: TokenRow, seal: _Seal, last: Token | None, renew: Renew) -> Token:
        sealed = row.sealed
        try:
            token = await renew(last)
            sealed = seal.closed(token)
            return token
        finally:
            # Also where it failed or was broken off: the next one need not wait for the lease.
            await self._put_back(row, sealed)

    async def _row(self, name: str) -> TokenRow:
        async with self._sessions() as session:
            row = await session.scalar(select(TokenRow).where(TokenRow.credentials == name))
            if row is not None:
                return row
            session.add(TokenRow(credentials=name, version=0, leased_until_ms=0, sealed=None))
            with suppress(IntegrityError):  # another worker has made it
                await session.commit()
        return TokenRow(credentials=name, version=0, leased_until_ms=0, sealed=None)

    async def _leased(self, row: TokenRow) -> bool:
        """Whether the renewal is this worker's: of all that saw this version one gets it."""
        now = self._now_ms()
        async with self._sessions() as session, session.begin():
            mine = await session.scalar(
                update(TokenRow)
                .where(
                    TokenRow.credentials == row.credentials,
                    TokenRow.version == row.version,
                    TokenRow.leased_until_ms <= now,
                )
                .values(leased_until_ms=now + LEASE_MS)
                .returning(TokenRow.version)
            )
        return mine is not None

    async def _put_back(self, row: TokenRow, sealed: str | None) -> None:
        async with self._sessions() as session, session.begin():
            await session.execute(
                update(TokenRow)
                .where(TokenRow.credentials == row.credentials, TokenRow.version == row.version)
                .values(sealed=sealed, version=row.version + 1, leased_until_ms=0)
            )
