"""What Kafka holds of a visitor: their chats, the router's knowledge of them, and the records that remain until their retention ends.

One rule: records are only read here; each is looked at as it is, so what a newer version wrote is found too.
"""

import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote

import orjson
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError

from schemas import codec
from schemas.decisions import ChatClosed, RequestRefused
from schemas.events import ChatRequested
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
from schemas.transcripts import TranscriptCompleted
from services.local.errors import LocalError
from services.local.partitions import former_partitions, partition_of
from services.local.topic_log import TopicLog, no_kafka, partitions_of, reached
from services.local.topics import settings_of
from services.router.changelog import Changelog
from services.router.core.partition import Partition
from services.router.core.state import Chat
from services.runtime.ports import InputRecord

HOLDS = {
    EVENTS: "messages, questions, notes, name and addresses",
    ROUTING: "name and addresses",
    NOTICES: "questions, answers, name and addresses",
    TRANSCRIPTS: "whole conversations",
    DELIVERIES: "ids, and hashes of addresses",
    ACTIVITIES: "ids, and links into the CRM",
}
"""What the records of each topic hold of a visitor."""
_REFUSED_LETTERS = "a record as it was refused"
_RETENTION = ("retention.ms", "segment.ms")


Revision: TypeAlias = tuple[str, int]
"""A chat's id and the number of its revision."""


class Marks:
    """Finds ids in records, as whole JSON strings and however they were escaped."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._pattern = re.compile(b"|".join(re.escape(orjson.dumps(each)) for each in sorted(ids)))

    def stand_in(self, value: bytes | None) -> bool:
        """Whether one of the ids does."""
        if value is None:
            return False
        if self._pattern.search(value):
            return True
        if b"\\" not in value:
            return False
        try:
            return bool(self._pattern.search(orjson.dumps(orjson.loads(value))))
        except orjson.JSONDecodeError:
            return False


@dataclass(slots=True)
class Known:
    """The chats of a visitor that topics speak of.

    `requests`: the ids of their requests' events; `closed`: when each revision was; `transcribed`: the revisions whose transcript is there.
    """

    chat_ids: set[str] = field(default_factory=set)
    closed: dict[Revision, int] = field(default_factory=dict)
    transcribed: set[Revision] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    requests: dict[str, set[str]] = field(default_factory=dict)

    @property
    def undecided(self) -> set[str]:
        """Chats that were asked for, and about whose end nothing is decided yet."""
        closed = {chat_id for chat_id, _ in self.closed}
        return {
            chat_id
            for chat_id, requests in self.requests.items()
            if chat_id not in closed and not requests <= self.refused
        }

    def untranscribed(self, *, since_ms: int) -> set[str]:
        """Chats closed since then whose transcript is not there yet."""
        return {
            revision[0]
            for revision, at_ms in self.closed.items()
            if at_ms >= since_ms and revision not in self.transcribed
        }


@dataclass(frozen=True, slots=True)
class Remainder:
    """What a topic still holds of a visitor. `gone_by_ms`: when the last of it has left the disk; None: never by itself."""

    topic: str
    holds: str
    records: int
    newest_ms: int
    gone_by_ms: int | None


async def number_of(bootstrap: str, workspace_id: str) -> int:
    """Return the partition number that owns a workspace. Raises LocalError."""
    return partition_of(workspace_id, partitions=len(await partitions_of(bootstrap, (EVENTS,))))


async def known_chats(bootstrap: str, *, workspace_id: str, visitor_id: str, number: int) -> Known:
    """Return what the topics say about a visitor's chats. Raises LocalError."""
    known, marks = Known(), Marks([visitor_id])
    refusal = RequestRefused.TYPE.encode()
    topics = (EVENTS, ROUTING, NOTICES, TRANSCRIPTS)
    async for record in _of_workspace(bootstrap, topics, workspace_id=workspace_id, number=number):
        if marks.stand_in(record.value):
            _take(known, record, visitor_id)
        elif record.topic == ROUTING and refusal in (record.value or b""):
            data = _envelope(record).get("data")
            if isinstance(data, dict) and data.get("request_type") == ChatRequested.TYPE:
                known.refused.add(data["request_id"])
    return known


def _take(known: Known, record: InputRecord, visitor_id: str) -> None:
    envelope = _envelope(record)
    data = envelope.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("visitor"), dict):
        return
    chat_id = data.get("chat_id")
    if data["visitor"].get("visitor_id") != visitor_id or not isinstance(chat_id, str):
        return
    known.chat_ids.add(chat_id)
    if envelope.get("type") == ChatRequested.TYPE and _is_sound(record):
        known.requests.setdefault(chat_id, set()).add(envelope["id"])
    elif envelope.get("type") == ChatClosed.TYPE:
        known.closed[chat_id, data["revision"]] = record.timestamp_ms
    elif envelope.get("type") == TranscriptCompleted.TYPE:
        known.transcribed.add((chat_id, data["revision"]))


def _is_sound(record: InputRecord) -> bool:
    """Whether the router decides about an event; nothing is ever decided about one that was dead-lettered."""
    try:
        codec.events.decode(record.value)
    except (codec.Poison, codec.UnknownType):
        return False
    return record.key is not None


def _envelope(record: InputRecord) -> dict[str, Any]:
    try:
        found = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


async def router_chats(bootstrap: str, *, workspace_id: str, visitor_id: str, number: int) -> list[Chat]:
    """Return the visitor's chats that the router knows, as its stored state has them. Raises LocalError."""
    prefix, marks = f"chat/{quote(workspace_id, safe='')}/".encode(), Marks([visitor_id])
    latest: dict[bytes, bytes] = {}
    async with TopicLog(bootstrap, (ROUTER_STATE,), partition=number) as log:
        async for record in log.stream():
            if record.key is None or not record.key.startswith(prefix):
                continue
            latest.pop(record.key, None)
            if record.value is not None and marks.stand_in(record.value):
                latest[record.key] = record.value
    partition = Partition(number)
    changelog = Changelog(partition)
    for key, value in latest.items():
        changelog.restore(key, value)
    workspace = partition.workspaces.get(workspace_id)
    chats = workspace.chats.values() if workspace else ()
    return [chat for chat in chats if chat.visitor.visitor_id == visitor_id]


async def remainders(
    bootstrap: str, *, workspace_id: str, ids: Iterable[str], number: int
) -> list[Remainder]:
    """Return what the topics hold of a visitor and their chats, and until when. Raises LocalError."""
    marks = Marks(ids)
    topics = (*HOLDS, *map(dead_letters, HOLDS))
    settings = await _settings(bootstrap, topics)
    found: dict[str, tuple[int, int]] = {}
    async for record in _of_workspace(bootstrap, topics, workspace_id=workspace_id, number=number):
        if marks.stand_in(record.value):
            count, newest_ms = found.get(record.topic, (0, 0))
            found[record.topic] = count + 1, max(newest_ms, record.timestamp_ms)
    return [
        Remainder(
            topic,
            HOLDS.get(topic, _REFUSED_LETTERS),
            *found[topic],
            _gone_by_ms(found[topic][1], settings[topic]),
        )
        for topic in topics
        if topic in found
    ]


async def _settings(bootstrap: str, topics: Iterable[str]) -> dict[str, dict[str, str]]:
    admin = AIOKafkaAdminClient(**reached(bootstrap).client())
    try:
        await admin.start()
        return await settings_of(admin, dict.fromkeys(topics, _RETENTION))
    except KafkaConnectionError as error:
        raise LocalError(no_kafka(bootstrap)) from error
    finally:
        await admin.close()


def _gone_by_ms(newest_ms: int, settings: dict[str, str]) -> int | None:
    """When a record has left the disk at the latest: Kafka deletes whole segments, once their newest record is past its retention."""
    retention_ms = int(settings["retention.ms"])
    return None if retention_ms < 0 else newest_ms + int(settings["segment.ms"]) + retention_ms


async def _of_workspace(
    bootstrap: str, topics: Iterable[str], *, workspace_id: str, number: int
) -> AsyncIterator[InputRecord]:
    """Give the records of a workspace, and those under no key, which a publisher may have left out."""
    keys = (workspace_id.encode(), None)
    numbers = [number]
    async with TopicLog(bootstrap, topics, partition=number) as log:
        if any(
            log.begins.values()
        ):  # its older records are past their retention, or where they went before there were so many
            count = len(await partitions_of(bootstrap, (EVENTS,)))
            numbers = [*former_partitions(workspace_id, partitions=count), number]
    for each in numbers:
        async with TopicLog(bootstrap, topics, partition=each) as log:
            async for record in log.stream():
                if record.key in keys:
                    yield record
