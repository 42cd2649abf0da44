"""Missed chats told together: the first mail of a department goes at once, further ones within `digest_s` of it in one digest.

    read ─▶ kept here ─▶ acknowledged ─▶ … window over ─▶ parked as one record ─▶ mailed, its outcomes written ─▶ deleted here

The one rule: each arrow is one transaction of the ledger's database, so a notice is in exactly one place whatever is killed when.
Who is in a digest is settled before it is sent and its id follows from that, so a digest sent again is the same mail.
A window belongs to a department and a letter: who is in a digest goes to the same addresses, in the same language.
Rows hold notices as they were read, visitors included, until they are mailed.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, ClassVar, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    LargeBinary,
    String,
    Table,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)

from schemas import codec
from schemas.envelope import Envelope, to_ms
from schemas.frozen import dataclass
from schemas.notices import NoticeUnattended
from schemas.types import Id
from services.notifier.core import digest
from services.runtime.ledger import Ledger, metadata, standings_of
from services.runtime.logs import explain, log
from services.runtime.parking import keep
from services.runtime.ports import InputRecord

NOTICES_MAX = 100
"""Notices in one digest, so that a mail stays below a megabyte; what is beyond goes in another one."""
WAITING_MAX = 100_000
"""Notices that wait for their digests; beyond it each goes at once."""
CLOSED_MAX = 100
"""Digests made in one transaction."""
LOOK_INTERVAL_S = 0.5
"""How often windows are looked at."""
DIGESTS: Final = "notifier.digests"
"""What stands for a topic in the parking: its records are made here and never were in Kafka."""

_windows = Table(
    "digest_windows",
    metadata,
    Column("scope", String(32), primary_key=True),
    Column("first_notice", String(128), nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)
_notices = Table(
    "digest_notices",
    metadata,
    Column("notice_id", String(128), primary_key=True),
    Column("scope", String(32), nullable=False),
    Column("workspace_id", String(128), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("notice", LargeBinary, nullable=False),
    Column("digest_id", String(32), nullable=True),
    Index("digest_notices_due", "digest_id", "due_ms"),
)
_is_kept = select(_notices.c.notice_id).where(_notices.c.notice_id == bindparam("of_notice"))
_end = select(_windows.c.until_ms).where(_windows.c.scope == bindparam("of_scope"))
_over = delete(_windows).where(_windows.c.until_ms <= bindparam("now_ms"))
_due = (
    select(_notices.c.scope)
    .where(_notices.c.digest_id.is_(None), _notices.c.due_ms <= bindparam("now_ms"))
    .distinct()
    .limit(CLOSED_MAX)
)
# Rows that another worker is just closing are passed over (where the database has such a thing).
_first_due = (
    select(_notices.c.notice_id, _notices.c.workspace_id)
    .where(
        _notices.c.digest_id.is_(None),
        _notices.c.scope == bindparam("of_scope"),
        _notices.c.due_ms <= bindparam("now_ms"),
    )
    .order_by(_notices.c.at_ms, _notices.c.notice_id)
    .limit(NOTICES_MAX)
    .with_for_update(skip_locked=True)
)
_close = (
    update(_notices).where(_notices.c.notice_id == bindparam("of_notice")).values(digest_id=bindparam("to"))
)
_members = (
    select(_notices.c.notice_id, _notices.c.notice)
    .where(_notices.c.digest_id == bindparam("of_digest"))
    .order_by(_notices.c.at_ms, _notices.c.notice_id)
)
_done = delete(_notices).where(_notices.c.digest_id == bindparam("of_digest"))
_count = select(func.count()).select_from(_notices)


@dataclass(frozen=True, slots=True)
class DigestDue:
    """A digest whose members are settled."""

    TYPE: ClassVar = "notifier.digest_due.v1"
    digest_id: Id


due_codec = codec.Codec((DigestDue,))


class Digests:
    """What waits for its digest, in the ledger's database, which several workers may share."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._log = log(__name__)
        self._waiting = 0
        opened = ledger.insert(_windows)
        self._open = opened.on_conflict_do_update(
            index_elements=["scope"],
            set_={"first_notice": opened.excluded.first_notice, "until_ms": opened.excluded.until_ms},
            # The first one is first again when a crash came before its mail.
            where=or_(
                _windows.c.until_ms <= bindparam("now_ms"),
                _windows.c.first_notice == opened.excluded.first_notice,
            ),
        ).returning(_windows.c.scope)
        self._keep = ledger.insert(_notices).on_conflict_do_nothing()

    async def keeps(self, envelope: Envelope[str, NoticeUnattended]) -> bool:
        """Whether a notice is kept until its window is over, or in its digest already; otherwise its mail goes the usual way."""
        data, now_ms = envelope.data, self._ledger.now_ms()
        if self._waiting >= WAITING_MAX:
            return False
        scope = digest("digest", envelope.workspaceid, data.department.id, codec.dumps(data.letter).decode())
        window = {
            "scope": scope,
            "first_notice": data.notice_id,
            "until_ms": now_ms + round(data.digest_s * 1000),
            "now_ms": now_ms,
        }

        def operation(connection: Connection) -> bool:
            if connection.execute(_is_kept, {"of_notice": data.notice_id}).scalar():
                return True
            if standings_of(connection, data.notice_id):
                return False  # its mail was begun, or is done
            if connection.execute(self._open, window).scalar():
                # Opening locks the window: another worker that was handed the same record may have kept it meanwhile.
                return connection.execute(_is_kept, {"of_notice": data.notice_id}).scalar() is not None
            row = {
                "notice_id": data.notice_id,
                "scope": scope,
                "workspace_id": envelope.workspaceid,
                "at_ms": to_ms(envelope.time),
                "due_ms": connection.execute(_end, {"of_scope": scope}).scalar_one(),
                "notice": codec.dumps(envelope),
            }
            connection.execute(self._keep, row)
            return True

        kept = await self._ledger.do(operation)
        self._waiting += kept
        return kept

    async def members(self, digest_id: str) -> list[Envelope[str, NoticeUnattended]]:
        """The notices of a digest; none once it is done."""
        parameters = {"of_digest": digest_id}
        rows = await self._ledger.do(lambda connection: connection.execute(_members, parameters).all())
        return [codec.notices.decode(row.notice) for row in rows]

    async def done(self, digest_id: str, *, effect_id: str) -> None:
        """Note of each notice what became of its digest's mail, `effect_id`, and forget the digest."""
        now_ms = self._ledger.now_ms()

        def operation(connection: Connection) -> None:
            outcomes = {
                target: standing.outcome
                for target, standing in standings_of(connection, effect_id).items()
                if standing.state == "reported"
            }
            for row in connection.execute(_members, {"of_digest": digest_id}).all():
                self._ledger.note(connection, row.notice_id, outcomes, now_ms=now_ms)
            connection.execute(_done, {"of_digest": digest_id})

        await self._ledger.do(operation)

    # ---------------------------------------------------------------- when windows are over

    @asynccontextmanager
    async def closing(self) -> AsyncIterator[None]:
        """Makes digests of what is due, as long as it is entered."""
        closing = asyncio.create_task(self._close_for_ever(), name="digests")
        try:
            yield
        finally:
            closing.cancel()
            await asyncio.wait({closing})

    async def _close_for_ever(self) -> None:
        while True:
            try:
                await self.close()
            except Exception as error:  # noqa: BLE001 - what waits goes on waiting, and is looked for again
                self._log.warning("digests_not_made", error=explain(error))
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def close(self) -> None:
        """Make a digest of what is due in each window and park it, so that it is brought to be mailed."""
        now_ms = self._ledger.now_ms()

        def operation(connection: Connection) -> int:
            for scope in connection.execute(_due, {"now_ms": now_ms}).scalars().all():
                rows = connection.execute(_first_due, {"of_scope": scope, "now_ms": now_ms}).all()
                if rows:
                    self._park(connection, rows, now_ms=now_ms)
            connection.execute(_over, {"now_ms": now_ms})
            return connection.execute(_count).scalar_one()

        self._waiting = await self._ledger.do(operation)

    def _park(self, connection: Connection, rows: Sequence[Any], *, now_ms: int) -> None:
        digest_id = digest_id_of([row.notice_id for row in rows])
        connection.execute(_close, [{"of_notice": row.notice_id, "to": digest_id} for row in rows])
        workspace_id = rows[0].workspace_id
        value = codec.encode(
            DigestDue(digest_id), event_id=digest_id, source=DIGESTS, at_ms=now_ms, workspace_id=workspace_id
        )
        # Not an offset of any topic, but as unlike another digest's: 63 bits of a hash.
        offset = int.from_bytes(sha256(digest_id.encode()).digest()[:8]) >> 1
        record = InputRecord(DIGESTS, 0, offset, now_ms, workspace_id.encode(), value)
        keep(self._ledger, connection, record, queue=DIGESTS)


def digest_id_of(notice_ids: Sequence[str]) -> str:
    """The id of the digest of these notices."""
    return digest("digest", *notice_ids)
