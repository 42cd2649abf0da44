"""Conversations that stand in no feed, and the leads agents asked for in chats: so that a chat joins the lead it has brought.

    conversation ends:  search, nobody ─▶ remember where it stands ─▶ a lead of this chat? it goes there
    lead is requested:  create the lead ─▶ remember whose chat it is ─▶ conversations of this chat? they come here

The one rule: each side writes what it has before it looks for what the other has written, in transactions of their own. So
whoever comes first, in whichever worker, at least one of them sees both; the conversation's marker keeps two from filing it twice.
Nothing personal stands here: the conversation itself stays in its topic.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Insert,
    Integer,
    String,
    Table,
    bindparam,
    delete,
    select,
)

from schemas import topics
from schemas.outcomes import CrmRecord
from services.runtime.ledger import Ledger, metadata
from services.runtime.parking import Place

KEPT_MS = 30 * topics.DAY_MS
"""As long as the topic keeps its conversations."""
OF_CHAT_MAX = 50
"""Conversations of one chat (its revisions) that join a lead."""

_waiting = Table(
    "crm_waiting",
    metadata,
    Column("workspace_id", String(128), primary_key=True),
    Column("chat_id", String(128), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("topic", String(249), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("record_offset", BigInteger, nullable=False),
    Column("since_ms", BigInteger, nullable=False, index=True),
)
_leads = Table(
    "crm_chat_leads",
    metadata,
    Column("workspace_id", String(128), primary_key=True),
    Column("chat_id", String(128), primary_key=True),
    Column("record_type", String(128), nullable=False),
    Column("record_id", String(128), nullable=False),
    Column("since_ms", BigInteger, nullable=False, index=True),
)
_is_chat = (_waiting.c.workspace_id == bindparam("of_workspace"), _waiting.c.chat_id == bindparam("of_chat"))
_of_chat = (
    select(_waiting.c.revision, _waiting.c.topic, _waiting.c.partition, _waiting.c.record_offset)
    .where(*_is_chat)
    .order_by(_waiting.c.revision)
    .limit(OF_CHAT_MAX)
)
_is_there = select(_waiting.c.revision).where(*_is_chat, _waiting.c.revision == bindparam("of_revision"))
_drop = delete(_waiting).where(*_is_chat, _waiting.c.revision == bindparam("of_revision"))
_lead = select(_leads.c.record_type, _leads.c.record_id).where(
    _leads.c.workspace_id == bindparam("of_workspace"), _leads.c.chat_id == bindparam("of_chat")
)
_old = tuple(delete(table).where(table.c.since_ms < bindparam("before_ms")) for table in (_waiting, _leads))


class Waiting:
    """Both tables, in the ledger's database, which several workers share."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        upsert = ledger.insert(_leads)
        self._keep_lead = upsert.on_conflict_do_update(
            index_elements=["workspace_id", "chat_id"],
            set_={name: upsert.excluded[name] for name in ("record_type", "record_id", "since_ms")},
        )
        self._keep = ledger.insert(_waiting).on_conflict_do_nothing()

    async def put(self, chat_id: str, revision: int, place: Place, *, workspace_id: str, now_ms: int) -> None:
        """Remember where a conversation stands that is in no feed."""
        topic, partition, offset = place
        row = {
            "workspace_id": workspace_id,
            "chat_id": chat_id,
            "revision": revision,
            "topic": topic,
            "partition": partition,
            "record_offset": offset,
            "since_ms": now_ms,
        }
        await self._ledger.do(lambda connection: _put(connection, self._keep, row, now_ms=now_ms))

    async def put_lead(self, chat_id: str, lead: CrmRecord, *, workspace_id: str, now_ms: int) -> None:
        """Remember the lead that was asked for in a chat."""
        row = {
            "workspace_id": workspace_id,
            "chat_id": chat_id,
            "record_type": lead.type,
            "record_id": lead.id,
            "since_ms": now_ms,
        }
        await self._ledger.do(lambda connection: _put(connection, self._keep_lead, row, now_ms=now_ms))

    async def lead_of(self, chat_id: str, *, workspace_id: str) -> CrmRecord | None:
        """Return the lead that was asked for in a chat."""
        chat = {"of_workspace": workspace_id, "of_chat": chat_id}
        row = await self._ledger.do(lambda connection: connection.execute(_lead, chat).one_or_none())
        return None if row is None else CrmRecord(row.record_type, row.record_id)

    async def of_chat(self, chat_id: str, *, workspace_id: str) -> Sequence[tuple[int, Place]]:
        """Return the revisions of a chat that are in no feed, the first one first, and where they stand."""
        chat = {"of_workspace": workspace_id, "of_chat": chat_id}
        rows = await self._ledger.do(lambda connection: connection.execute(_of_chat, chat).all())
        return [(row.revision, (row.topic, row.partition, row.record_offset)) for row in rows]

    async def has(self, chat_id: str, revision: int, *, workspace_id: str) -> bool:
        """Return whether this conversation is in no feed."""
        one = {"of_workspace": workspace_id, "of_chat": chat_id, "of_revision": revision}
        return (
            await self._ledger.do(lambda connection: connection.execute(_is_there, one).one_or_none())
            is not None
        )

    async def drop(self, chat_id: str, revision: int, *, workspace_id: str) -> None:
        """Forget a conversation: it is in a feed, or its record is gone."""
        one = {"of_workspace": workspace_id, "of_chat": chat_id, "of_revision": revision}
        await self._ledger.do(lambda connection: connection.execute(_drop, one))


def _put(connection: Connection, keep: Insert, row: Mapping[str, object], *, now_ms: int) -> None:
    connection.execute(keep, row)
    for delete_old in _old:
        connection.execute(delete_old, {"before_ms": now_ms - KEPT_MS})
