"""Revoked links: they are genuine and in time, and open nothing any more.

The one rule: a link is the same whenever it is made, so it can't be replaced by another; whether it stands is looked up in the
archive each time it is opened. No topic fills this table, and building the archive anew must keep it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Final

from sqlalchemy import delete, exists, select
from sqlalchemy.ext.asyncio import AsyncEngine

from services.runtime.links import TranscriptLink
from services.transcript.archive.tables import chats, revoked_links
from services.transcript.archive.writing import upsert

WHENEVER_MS: Final = 2**63 - 1
"""Later than any link was made."""
LISTED_MAX = 1_000
"""Revocations listed of a workspace, the latest ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """Which links: of a workspace, of one chat of it, or of one revision of that; of these, those made before a time.

    A link counts as made when its lifetime began, which is when the chat ended or was missed.
    """

    workspace_id: str
    chat_id: str = ""
    revision: int = 0
    made_before_ms: int = WHENEVER_MS


async def revoke(engine: AsyncEngine, links: Revocation, *, at_ms: int) -> bool:
    """Revokes links; whether that changed anything. A revocation is only ever widened, by a later time."""
    values = {**asdict(links), "revoked_at_ms": at_ms}
    widened = upsert(revoked_links, tuple(values), engine.dialect.name)
    async with engine.begin() as connection:
        changed = widened.returning(revoked_links.c.revoked_at_ms)
        return await connection.scalar(changed, values) is not None


async def is_known(engine: AsyncEngine, links: Revocation) -> bool:
    """Whether the archive has a chat whose links are meant."""
    meant = {"workspace_id": links.workspace_id, "chat_id": links.chat_id, "revision": links.revision}
    found = select(chats.c.chat_id).filter_by(**{name: value for name, value in meant.items() if value})
    async with engine.connect() as connection:
        return await connection.scalar(found.limit(1)) is not None


async def restore(engine: AsyncEngine, links: Revocation) -> bool:
    """Takes the revocation of exactly this workspace, chat or revision back; whether there was one."""
    taken_back = delete(revoked_links).filter_by(
        workspace_id=links.workspace_id, chat_id=links.chat_id, revision=links.revision
    )
    async with engine.begin() as connection:
        return (await connection.execute(taken_back)).rowcount == 1


async def revocations(engine: AsyncEngine, workspace_id: str) -> Sequence[tuple[Revocation, int]]:
    """A workspace's revocations, each with the milliseconds of its time, the latest first."""
    r = revoked_links.c
    latest = select(revoked_links).filter_by(workspace_id=workspace_id)
    latest = latest.order_by(r.revoked_at_ms.desc(), r.chat_id, r.revision).limit(LISTED_MAX)
    async with engine.connect() as connection:
        found = (await connection.execute(latest)).mappings()
    names = [field.name for field in fields(Revocation)]
    return [(Revocation(**{name: row[name] for name in names}), row["revoked_at_ms"]) for row in found]


async def is_revoked(engine: AsyncEngine, link: TranscriptLink) -> bool:
    """Whether a link was revoked, by itself, with its chat or with its workspace."""
    r = revoked_links.c
    standing = exists().where(
        r.workspace_id == link.workspace_id,
        r.chat_id.in_(("", link.chat_id)),
        r.revision.in_((0, link.revision)),
        r.made_before_ms > link.made_at_ms,
    )
    async with engine.connect() as connection:
        return bool(await connection.scalar(select(standing)))
