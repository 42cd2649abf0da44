"""What a batch of faults has left in the topics and in the archive, compared with a plain run of the cores.

The one rule: what should stand there is computed here, on one thread and without Kafka, from the committed inputs alone, and
compared record for record and in order; nobody who published or was killed is asked.
"""

import asyncio
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from schemas import codec
from schemas.decisions import ChatClosed, RequestRefused
from schemas.envelope import Envelope
from schemas.events import ChatMessage
from schemas.topics import (
    ACTIVITIES,
    DELIVERIES,
    EVENTS,
    NOTICES,
    ROUTER_STATE,
    ROUTING,
    TRANSCRIPTS,
    dead_letters,
)
from services.local import verify
from services.local.export import is_tick
from services.local.topic_log import TopicLog
from services.router.processor import RouterProcessor
from services.runtime.broker import Row
from services.runtime.links import links
from services.runtime.ports import InputRecord, Processor
from services.transcript.processor import TranscriptProcessor
from tests.faults.stage import LIMIT_S, LINK_SECRET, POLL_INTERVAL_S, PUBLIC_URL, Stage
from tests.runtime.plain_run import plain_run

ARCHIVED = (EVENTS, ROUTING, TRANSCRIPTS, DELIVERIES, ACTIVITIES)
TOPICS = (*ARCHIVED, NOTICES, ROUTER_STATE, dead_letters(EVENTS), dead_letters(ROUTING))
INPUTS = {"chat-router": (EVENTS,), "chat-transcript": (EVENTS, ROUTING)}
OUTPUTS = {
    "chat-router": (ROUTING, NOTICES, dead_letters(EVENTS)),
    "chat-transcript": (TRANSCRIPTS, dead_letters(ROUTING)),
}
MARKER_LOOKS_MAX = 20
"""Far less than the minute after which Kafka aborts an abandoned transaction."""
LINK_LIFETIME_S = 90 * 24 * 3600.0
"""What CHAT_LINK_LIFETIME_S is when nobody sets it."""
Positions: TypeAlias = Mapping[tuple[str, int], int]
"""The next offset, by topic and partition."""
_Revision: TypeAlias = tuple[str, str, int]
"""Workspace, chat, revision."""


@dataclass(slots=True)
class Judgement:
    """What was compared, and what is wrong; `wrong` says it in sentences, some of which count in `lost` and its like too."""

    records: int = 0
    decisions: int = 0
    transcripts: int = 0
    lost: int = 0
    doubled: int = 0
    differing: int = 0
    wrong: list[str] = field(default_factory=list)

    def compare(self, what: str, *, found: Sequence[Row], expected: Sequence[Row]) -> None:
        """Enter how the found records differ from those which follow from the inputs: none may, and in this order."""
        if found == expected:
            return
        missing, extra = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
        doubled = sum(count for row, count in extra.items() if row in expected)
        moved = 0 if missing or extra else sum(a != b for a, b in zip(found, expected, strict=True))
        self.lost += missing.total()
        self.doubled += doubled
        self.differing += extra.total() - doubled + moved
        place = next(
            (n for n, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), "their end"
        )
        self.wrong.append(
            f"{what}: {len(found)} records, expected {len(expected)}; they differ from {place} on"
        )


async def drain(stage: Stage) -> None:
    """Return when both groups and the archive have processed everything but the router's own last ticks."""
    async with TopicLog(stage.bootstrap, TOPICS) as log, asyncio.timeout(LIMIT_S):
        while True:
            stage.tend()
            await log.catch_up()
            lag = [
                behind
                for group, topics in INPUTS.items()
                for behind in _behind(log, await _committed(stage.bootstrap, group), topics)
            ]
            if not lag and not _behind(log, _archived(stage.archive), ARCHIVED):
                return
            await asyncio.sleep(POLL_INTERVAL_S)


async def judge(stage: Stage) -> Judgement:
    """Judge what stands there after `drain`, when all workers have been stopped."""
    judged = Judgement()
    async with TopicLog(stage.bootstrap, TOPICS) as log:
        await log.catch_up()
        committed = {group: await _committed(stage.bootstrap, group) for group in INPUTS}
        for group, topics in INPUTS.items():
            judged.wrong += [f"{group} lags: {behind}" for behind in _behind(log, committed[group], topics)]
        for number in log.partitions_of(EVENTS):
            for group in INPUTS:
                _judge_partition(judged, log, number, group=group, committed=committed[group])
        offsets = {number: at for (_, number), at in committed["chat-router"].items()}
        judged.wrong += [
            f"invariant {each.invariant}: {each.subject}: {each.what}"
            for each in verify.check(log, offsets=offsets).violations
        ]
        judged.records = len(log.all_of(EVENTS))
        judged.decisions = len(log.all_of(ROUTING)) + len(log.all_of(NOTICES))
        judged.transcripts = len(log.all_of(TRANSCRIPTS))
        judged.wrong += _conversations_differ(log, stage.archive)
    judged.wrong += await _abandoned_transactions(stage.bootstrap)
    return judged


# ---------------------------------------------------------------- the plain run


def _judge_partition(
    judged: Judgement, log: TopicLog, number: int, *, group: str, committed: Positions
) -> None:
    inputs = [
        record
        for topic in INPUTS[group]
        for record in log.of(topic, number)
        if record.offset < committed.get((topic, number), 0)
    ]
    expected = plain_run(_processor(group, number), inputs)
    for topic in OUTPUTS[group]:
        found = [Row(record.key, record.value, record.headers) for record in log.of(topic, number)]
        judged.compare(f"{topic}/{number}", found=found, expected=expected[topic])


def _processor(group: str, number: int) -> Processor:
    if group == "chat-router":
        return RouterProcessor(number)
    link = links(base_url=PUBLIC_URL, secret=LINK_SECRET, lifetime_s=LINK_LIFETIME_S)
    return TranscriptProcessor(number, link=link)


# ---------------------------------------------------------------- conversations, by the inputs themselves


def _conversations_differ(log: TopicLog, archive: Path) -> Iterator[str]:
    """Compare each closed chat with what was said, once in its transcript and once in the archive; a sentence for each."""
    expected = _said(log)
    told: dict[_Revision, list[str]] = {}
    for record in log.all_of(TRANSCRIPTS):
        envelope = codec.transcripts.decode(record.value)
        data = envelope.data
        messages = told.setdefault((envelope.workspaceid, data.chat_id, data.revision), [])
        messages += [message.message_id for message in data.messages]
    with closing(sqlite3.connect(archive)) as database:
        rows = database.execute("SELECT workspace_id, chat_id, revision FROM chats WHERE parts IS NOT NULL")
        kept: dict[_Revision, list[str]] = {(w, c, r): [] for w, c, r in rows}
        for workspace_id, chat_id, revision, message_id in database.execute(
            "SELECT workspace_id, chat_id, revision, message_id FROM messages ORDER BY part, position"
        ):
            kept.setdefault((workspace_id, chat_id, revision), []).append(message_id)
    for where, found in (("its transcript", told), ("the archive", kept)):
        for revision in sorted(expected.keys() | found.keys()):
            if expected.get(revision) != found.get(revision):
                yield f"{revision}: {where} differs from what was said"


def _said(log: TopicLog) -> dict[_Revision, list[str]]:
    """Return the messages of each closed chat, once and in order: those before its end that were not refused."""
    said: dict[tuple[str, str], dict[str, tuple[int, int]]] = defaultdict(dict)
    refused: set[tuple[int, int]] = set()
    closed: list[tuple[str, ChatClosed]] = []
    for record in log.all_of(ROUTING):
        envelope = codec.decisions.decode(record.value)
        match envelope.data:
            case RequestRefused(cause=cause) if cause is not None and cause.offset is not None:
                refused.add((record.partition, cause.offset))
            case ChatClosed() as data:
                closed.append((envelope.workspaceid, data))
            case _:
                pass
    for record in log.all_of(EVENTS):
        event = _event(record)
        place = (record.partition, record.offset)
        if event is not None and isinstance(event.data, ChatMessage) and place not in refused:
            said[event.workspaceid, event.data.chat_id].setdefault(event.data.message_id, place)
    return {
        (workspace_id, data.chat_id, data.revision): [
            message_id
            for message_id, (_, offset) in said[workspace_id, data.chat_id].items()
            if offset <= data.source.offset
        ]
        for workspace_id, data in closed
    }


def _event(record: InputRecord) -> Envelope[str, Any] | None:
    try:
        envelope = codec.events.decode(record.value)
    except (codec.Poison, codec.UnknownType):
        return None
    return envelope if isinstance(envelope, Envelope) else None


# ---------------------------------------------------------------- positions


def _behind(log: TopicLog, positions: Positions, topics: Iterable[str]) -> list[str]:
    """Return where records other than ticks have not been processed."""
    return [
        f"{topic}/{number} at {positions.get((topic, number), 0)}"
        for topic in topics
        for number in log.partitions_of(topic)
        if any(
            not is_tick(record)
            for record in log.of(topic, number)
            if record.offset >= positions.get((topic, number), 0)
        )
    ]


async def _committed(bootstrap: str, group: str) -> Positions:
    return {
        (topic, number): offset
        for topic in INPUTS[group]
        for number, offset in (await verify.committed_offsets(bootstrap, group=group, topic=topic)).items()
    }


def _archived(archive: Path) -> Positions:
    with closing(sqlite3.connect(archive, timeout=LIMIT_S)) as database:
        rows = database.execute("SELECT topic, partition, next_offset FROM offsets")
        return {(topic, number): offset for topic, number, offset in rows}


async def _abandoned_transactions(bootstrap: str) -> list[str]:
    """Return what stays open: a commit is answered before its markers stand in every partition."""
    for _ in range(MARKER_LOOKS_MAX):
        found = await open_transactions(bootstrap)
        if not found:
            break
        await asyncio.sleep(POLL_INTERVAL_S)
    return found


async def open_transactions(bootstrap: str) -> list[str]:
    """Return the partitions, offsets' included, whose end `read_committed` readers cannot reach."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        topics = await admin.describe_topics()
    finally:
        await admin.close()
    partitions = [
        TopicPartition(topic["topic"], each["partition"]) for topic in topics for each in topic["partitions"]
    ]
    ends = []
    # In this order, so that what is written in between, such as that a member has gone, does not look like a transaction.
    for level in ("read_uncommitted", "read_committed"):
        async with AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level=level) as consumer:
            ends.append(await consumer.end_offsets(partitions))
    all_written, stable = ends
    return [
        f"{part.topic}/{part.partition}: a transaction is open at {stable[part]}"
        for part in partitions
        if stable[part] < all_written[part]
    ]
