"""Erases a visitor wherever they are kept, and says what remains until when.

One rule: each step leaves the rest as it was and can be run again; whatever stops a run, the next one finishes it.

- A visitor whose chat is still open is refused: the router and the people who chat work with it.
- The missed inbox, and monitors on the visitor's mail address: deleting there is an event, so the router forgets them as it does in
  every replay. Its state is never written from outside: its decisions would no longer follow from its log.
- What the workers keep of their own (`forgetting`), and the archive, which notes hashes of what was erased, so that no reading
  again brings it back.
- Topics are logs that whole workspaces share: no record can be taken out of one, so theirs go with their retention, and the report
  says when. A tombstone does nothing in a topic that is not compacted. A key for each visitor, destroyed to erase them, would have to
  cover topics that any client reads as plain JSON, and would itself have to be kept somewhere for each visitor.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import codec
from schemas.decisions import MissedUpdated, RequestRefused
from schemas.events import MissedDeleteRequested, MonitorDeleted
from schemas.frozen import dataclass
from schemas.memory import KNOWN_CLOSED_S, KNOWN_MISSED_S
from schemas.topics import ROUTING
from schemas.types import BULK_IDS_MAX
from services.local import forgetting
from services.local.display import visible
from services.local.errors import LocalError
from services.local.progress import Progress, silent
from services.local.publishing import Publisher, wall_ms
from services.local.topic_log import reached, start
from services.local.traces import Known, Marks, Remainder, known_chats, number_of, remainders, router_chats
from services.router.core.inbox import IN_WORK
from services.router.core.state import Chat
from services.transcript.archive.database import Archive
from services.transcript.archive.erasure import (
    CrmRecord,
    Watch,
    chats_of,
    crm_records,
    erase,
    hash_of,
    watches_on,
)

STEPS = ("look", "inbox", "worker", "archive", "ledgers", "remains")
ANSWER_LIMIT_S = 30
"""How long the router may take to answer."""
TRANSCRIBED_WITHIN_MS = 24 * 3600 * 1000
"""A chat that ended longer ago and has no transcript never gets one: its request was gone before the worker read it."""
SHOWN_MAX = 5
"""Chats named in an error."""
_FETCH_WAIT_MS = 200
_SOURCE = "/services/local/erase"


@dataclass(frozen=True, slots=True)
class Report:
    """What an erasure did, and what it could not. It names nobody: the visitor is a hash, as in the archive's record.

    `before_ms`: when they were last erased. `router_until_ms`: when the router has forgotten these chats; None: it knows none.
    """

    workspace_id: str
    visitor_hash: str
    at_ms: int
    before_ms: int | None
    chats: int
    inbox: int
    worker_records: int
    archive_rows: dict[str, int]
    waiting_effects: dict[str, int]
    router_until_ms: int | None
    remains: tuple[Remainder, ...]
    crm: tuple[CrmRecord, ...]

    @property
    def did_something(self) -> bool:
        """Whether anything was deleted."""
        return bool(
            self.inbox or self.worker_records or self.archive_rows or sum(self.waiting_effects.values())
        )


async def erase_visitor(
    bootstrap: str,
    archive: Archive,
    *,
    workspace_id: str,
    visitor_id: str,
    by_agent_id: str | None = None,
    ledgers: Sequence[str] = (),
    group: str = forgetting.GROUP,
    progress: Progress = silent,
) -> Report:
    """Erase a visitor. `by_agent_id`: who deletes their missed chats; `ledgers`: addresses of the other workers' databases.

    Raises LocalError when a chat of theirs is still open, the router does not answer or refuses, or something can't be reached.
    """

    def done(step: str) -> None:
        progress("erase", done=1 + STEPS.index(step), total=len(STEPS))

    who = {"workspace_id": workspace_id, "visitor_id": visitor_id}
    forgetting.demand(ledgers)
    number = await number_of(bootstrap, workspace_id)
    known = await known_chats(bootstrap, **who, number=number)
    routed = await router_chats(bootstrap, **who, number=number)
    _demand_closed(known.undecided | {chat.id for chat in routed if chat.live})
    _demand_transcribed(known)
    archived = await chats_of(archive.engine, **who)
    chats = archived | known.chat_ids | {chat.id for chat in routed}
    done("look")
    missed = sorted(chat.id for chat in routed if chat.inbox in IN_WORK)
    if missed:
        await _delete_missed(
            bootstrap, missed, workspace_id=workspace_id, by_agent_id=by_agent_id, number=number
        )
    watches = await watches_on(archive.engine, workspace_id=workspace_id, chat_ids=chats)
    if watches:
        await _delete_monitors(bootstrap, watches, workspace_id=workspace_id)
    done("inbox")
    worker_records = await forgetting.forget_stored(
        bootstrap, group=group, workspace_id=workspace_id, chat_ids=chats, number=number
    )
    done("worker")
    crm = await crm_records(archive.engine, workspace_id=workspace_id, chat_ids=chats)
    at_ms = wall_ms()
    erased = await erase(archive.engine, **who, chat_ids=chats, now_ms=at_ms)
    done("archive")
    ids = {visitor_id, *chats}
    waiting = {
        forgetting.named(url): await asyncio.to_thread(
            forgetting.forget_waiting, url, workspace_id=workspace_id, marks=Marks(ids)
        )
        for url in ledgers
    }
    done("ledgers")
    traces = ids | {watch.address for watch in watches}
    remains = await remainders(bootstrap, workspace_id=workspace_id, ids=traces, number=number)
    done("remains")
    return Report(
        workspace_id=workspace_id,
        visitor_hash=hash_of(workspace_id, visitor_id),
        at_ms=at_ms,
        before_ms=erased.before_ms,
        chats=len(chats),
        inbox=len(missed),
        worker_records=worker_records,
        archive_rows=erased.rows,
        waiting_effects=waiting,
        router_until_ms=_router_until_ms(routed, at_ms=at_ms),
        remains=tuple(remains),
        crm=tuple(sorted(crm, key=lambda record: (record.type, record.id))),
    )


def _demand_closed(live: Collection[str]) -> None:
    if live:
        named = ", ".join(map(visible, sorted(live)[:SHOWN_MAX]))
        raise LocalError(
            f"Nothing was erased: the visitor has {len(live)} chat(s) that have not ended ({named}). End them, and run it again."
        )


def _demand_transcribed(known: Known) -> None:
    """The transcript worker still has to read what it makes a transcript of: deleted too early, it would come into its state again."""
    waiting = known.untranscribed(since_ms=wall_ms() - TRANSCRIBED_WITHIN_MS)
    if waiting:
        raise LocalError(
            f"Nothing was erased: {len(waiting)} transcript(s) of the visitor are still to be made. Let the transcript worker catch up, "
            "and run it again."
        )


def _router_until_ms(routed: Sequence[Chat], *, at_ms: int) -> int | None:
    """The router's memory of closed chats (the contract): a day, of missed ones closed in the inbox thirty; from now at the latest."""
    if not routed:
        return None
    kept = any(chat.inbox == "closed" for chat in routed)
    return at_ms + 1000 * (KNOWN_MISSED_S if kept else KNOWN_CLOSED_S)


async def _delete_missed(
    bootstrap: str, chat_ids: Sequence[str], *, workspace_id: str, by_agent_id: str | None, number: int
) -> None:
    """Delete chats from the missed inbox, and wait until the router has."""
    if by_agent_id is None:
        raise LocalError(
            f"Nothing was erased: {len(chat_ids)} chat(s) of the visitor stand in the missed inbox, or a bot's. Say with --by which "
            "admin or supervisor deletes them there."
        )
    at = TopicPartition(ROUTING, number)
    consumer: Any = AIOKafkaConsumer(
        **reached(bootstrap).client(), enable_auto_commit=False, isolation_level="read_committed"
    )
    consumer.assign([at])
    await start(consumer, bootstrap)
    try:
        await consumer.seek_to_end(at)
        await consumer.position(at)
        requests = await _request(bootstrap, chat_ids, workspace_id=workspace_id, by_agent_id=by_agent_id)
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                await _answered(consumer, set(chat_ids), requests)
        except TimeoutError as error:
            raise LocalError(
                "Nothing was erased: the router has not answered. Start it, or look at its health, and run it again."
            ) from error
    finally:
        await consumer.stop()


async def _delete_monitors(bootstrap: str, watches: Sequence[Watch], *, workspace_id: str) -> None:
    """Delete monitors in the name of their owners, whom the router lets do so at any time; so nobody waits for its answer."""
    async with Publisher(bootstrap) as publisher:
        for watch in watches:
            value = codec.encode(
                MonitorDeleted(watch.monitor_id, watch.owner_agent_id),
                event_id=uuid4().hex,
                source=_SOURCE,
                at_ms=wall_ms(),
                workspace_id=workspace_id,
            )
            await publisher.send(workspace_id.encode(), value)


async def _request(
    bootstrap: str, chat_ids: Sequence[str], *, workspace_id: str, by_agent_id: str
) -> set[str]:
    """Publish the requests, and return their ids: new ones each time, since an earlier one may have been refused."""
    ids: set[str] = set()
    async with Publisher(bootstrap) as publisher:
        for begin in range(0, len(chat_ids), BULK_IDS_MAX):
            some = tuple(chat_ids[begin : begin + BULK_IDS_MAX])
            event_id = uuid4().hex
            value = codec.encode(
                MissedDeleteRequested(some, by_agent_id),
                event_id=event_id,
                source=_SOURCE,
                at_ms=wall_ms(),
                workspace_id=workspace_id,
            )
            await publisher.send(workspace_id.encode(), value)
            ids.add(event_id)
    return ids


async def _answered(consumer: Any, chat_ids: set[str], requests: set[str]) -> None:
    left = set(chat_ids)
    while left:
        for records in (await consumer.getmany(timeout_ms=_FETCH_WAIT_MS)).values():
            for record in records:
                match codec.decisions.decode(record.value).data:
                    case MissedUpdated(chat_id=chat_id, status="deleted"):
                        left.discard(chat_id)
                    case RequestRefused(request_id=request_id, code=code) if request_id in requests:
                        raise LocalError(
                            f"Nothing was erased: the router refuses to delete the missed chats ({code}). Name an admin or a "
                            "supervisor of the workspace with --by."
                        )
                    case _:
                        pass
