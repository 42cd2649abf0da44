"""Everything the topics, or an exported log, hold about one chat.

The one rule: a log is read once from end to end and only what is about the chat is kept, so its length costs time and no memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from schemas import codec
from schemas.decisions import AgentMarkedAway, Cause, RequestRefused
from schemas.envelope import PartitionEnvelope, to_ms
from schemas.notices import Notice
from schemas.topics import ACTIVITIES, DELIVERIES, EVENTS, ROUTER_STATE, ROUTING, TRANSCRIPTS
from services.local.display import visible
from services.local.errors import LocalError
from services.local.input_log import holds_ticks, read
from services.local.topic_log import TopicLog
from services.router.changelog import Changelog
from services.router.core.configuring import new_workspace
from services.router.core.offline import happenings
from services.router.core.partition import Entry, Partition
from services.router.core.state import Workspace
from services.router.core.timers import Agenda
from services.router.processor import read_entry
from services.runtime.ports import InputRecord

_WORKSPACES_SHOWN_MAX = 10
_CODECS = {
    ROUTING: codec.decisions,
    TRANSCRIPTS: codec.transcripts,
    DELIVERIES: codec.deliveries,
    ACTIVITIES: codec.activities,
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One record about the chat: an input (then with its `offset`), a decision (with its `cause`), or what a worker did."""

    at_ms: int
    id: str
    data: Any
    offset: int | None = None
    cause: Cause | None = None


@dataclass(slots=True)
class ChatLog:
    """One chat of one workspace: what came in, what was decided, what the workers did; each in the order of its topic."""

    workspace_id: str
    chat_id: str
    partition: int
    ws: Workspace
    """The settings as they are now, for names and the time zone; from topics nothing else of it is filled."""
    inputs: list[Fact] = field(default_factory=list)
    decisions: list[Fact] = field(default_factory=list)
    effects: list[Fact] = field(default_factory=list)
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The inputs by id and source: the same again changes nothing."""

    @property
    def begun_ms(self) -> int:
        """When the chat was first heard of."""
        return min(fact.at_ms for facts in (self.inputs, self.decisions, self.effects) for fact in facts[:1])

    def facts(self) -> Iterator[Fact]:
        """Inputs and decisions in one order: each decision behind what it follows from."""
        later = iter(self.inputs)
        held = next(later, None)
        for decided in self.decisions:
            while held is not None and _before(held, decided):
                yield held
                held = next(later, None)
            yield decided
        if held is not None:
            yield held
            yield from later


def _before(given: Fact, decided: Fact) -> bool:
    assert given.offset is not None, "inputs have an offset"
    if decided.cause is not None and decided.cause.offset is not None:
        return given.offset <= decided.cause.offset
    return given.at_ms <= decided.at_ms


class Collector:
    """Keeps what is about a chat id, workspace by workspace."""

    def __init__(self, chat_id: str, workspace_id: str | None) -> None:
        """`workspace_id`: look in this one only."""
        self.chat_id = chat_id
        self._workspace_id = workspace_id
        self._needle = chat_id.encode(errors="surrogateescape")
        self._logs: dict[str, ChatLog] = {}

    def add_input(self, entry: Entry) -> None:
        """Keeps an input that names the chat, once."""
        envelope = entry.envelope
        if isinstance(envelope, PartitionEnvelope) or not self._is_about(envelope.data):
            return
        log = self._log(envelope.workspaceid, entry.partition)
        if log is None:
            return
        sent = log.sent.setdefault(envelope.id, {})
        if envelope.source not in sent:
            sent[envelope.source] = envelope.data
            log.inputs.append(Fact(entry.at_ms, envelope.id, envelope.data, entry.offset))

    def add_decision(self, workspace_id: str, partition: int, fact: Fact) -> None:
        """Keeps a decision about the chat, or one that refuses a request about it; the inputs have been read before."""
        if self._is_decided(workspace_id, fact) and (log := self._log(workspace_id, partition)) is not None:
            log.decisions.append(fact)

    def _is_decided(self, workspace_id: str, fact: Fact) -> bool:
        data = fact.data
        if isinstance(data, RequestRefused):
            known = self._logs.get(workspace_id)
            asked = () if known is None else known.sent.get(data.request_id, {}).values()
            return any(data.subject == self.chat_id or not hasattr(request, "chat_ids") for request in asked)
        if isinstance(data, AgentMarkedAway):
            timer = fact.cause.timer if fact.cause else None
            return timer is not None and f"/{self.chat_id}@" in timer
        return self._is_about(data)

    def add_effect(self, workspace_id: str, partition: int, fact: Fact) -> None:
        """Keeps what a worker did about the chat."""
        if self._is_about(fact.data) and (log := self._log(workspace_id, partition)) is not None:
            log.effects.append(fact)

    def holds(self, record: InputRecord) -> bool:
        """Whether a record may be about the chat: a look at its bytes spares reading most of them. A backslash may hide the id."""
        value = record.value or b""
        if self._workspace_id is not None and record.key != self._workspace_id.encode():
            return False
        return self._needle in value or b"\\" in value or RequestRefused.TYPE.encode() in value

    def found(self) -> ChatLog:
        """The chat's one log. Raises LocalError where there is none, or one in each of several workspaces."""
        if not self._logs:
            where = "" if self._workspace_id is None else f" in workspace {visible(self._workspace_id)}"
            raise LocalError(f"No chat {visible(self.chat_id)} is known{where}: check its id.")
        if len(self._logs) > 1:
            names = [visible(name) for name in sorted(self._logs)]
            more = len(names) - _WORKSPACES_SHOWN_MAX
            listed = ", ".join(names[:_WORKSPACES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
            raise LocalError(
                f"Several workspaces have a chat {visible(self.chat_id)} ({listed}): say which with --workspace."
            )
        return next(iter(self._logs.values()))

    def _is_about(self, data: Any) -> bool:
        return getattr(data, "chat_id", None) == self.chat_id or self.chat_id in getattr(data, "chat_ids", ())

    def _log(self, workspace_id: str, partition: int) -> ChatLog | None:
        if self._workspace_id not in (None, workspace_id):
            return None
        log = self._logs.get(workspace_id)
        if log is None:
            ws = new_workspace(workspace_id, Agenda())
            log = self._logs[workspace_id] = ChatLog(workspace_id, self.chat_id, partition, ws)
        return log


def from_file(path: Path, chat_id: str, *, workspace_id: str | None = None) -> ChatLog:
    """What an exported log says about a chat, its decisions made again. Raises BadLine and LocalError."""
    collector = Collector(chat_id, workspace_id)
    routers: dict[int, Partition] = {}
    for happening in happenings(read(path), ticks=holds_ticks(path), partitions=routers):
        if isinstance(happening, Entry):
            collector.add_input(happening)
        elif not isinstance(happening.data, Notice):
            fact = Fact(happening.at_ms, happening.id, happening.data, cause=happening.cause)
            partition = (
                happening.cause.partition or 0
            )  # of a deadline it does not tell, but then the chat is known
            collector.add_decision(happening.workspace_id, partition, fact)
    log = collector.found()
    log.ws = routers[log.partition].workspaces[log.workspace_id]
    return log


async def from_topics(bootstrap: str, chat_id: str, *, workspace_id: str | None = None) -> ChatLog:
    """What the topics of a running service hold about a chat, up to their ends as they are now. Raises LocalError."""
    reader = Reader(Collector(chat_id, workspace_id))
    for names in ((EVENTS,), tuple(_CODECS)):
        async with TopicLog(bootstrap, names) as topics:
            async for record in topics.stream():
                reader.take(record)
    log = reader.collector.found()
    await _fill_in(log, bootstrap)
    return log


class Reader:
    """Hands records on to a collector: all of `chat.events.v1` first, then those of the other topics."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self._read_to: dict[int, tuple[int, int]] = {}
        """The last input's offset and time, by partition."""

    def take(self, record: InputRecord) -> None:
        """Takes the next record of its partition."""
        if record.topic == EVENTS:
            _, last_ms = self._read_to.get(record.partition, (0, 0))
            self._read_to[record.partition] = (record.offset, max(record.timestamp_ms, last_ms))
        if self.collector.holds(record):
            (self._input if record.topic == EVENTS else self._output)(record)

    def _input(self, record: InputRecord) -> None:
        """What the router could not read either is left out."""
        try:
            entry = read_entry(record)
        except (codec.Poison, codec.UnknownType):
            return
        self.collector.add_input(replace(entry, at_ms=self._read_to[record.partition][1]))

    def _output(self, record: InputRecord) -> None:
        """Decisions on inputs that came after ours were read are left out."""
        try:
            envelope = _CODECS[record.topic].decode(record.value)
        except codec.UnknownType:
            return
        at_ms, data = to_ms(envelope.time), envelope.data
        if record.topic != ROUTING:
            self.collector.add_effect(envelope.workspaceid, record.partition, Fact(at_ms, envelope.id, data))
            return
        offset = data.cause.offset if data.cause is not None else None
        last_offset, last_ms = self._read_to.get(record.partition, (offset, at_ms))
        later = offset is not None and last_offset is not None and offset > last_offset
        if at_ms <= last_ms and not later:
            fact = Fact(at_ms, envelope.id, data, cause=data.cause)
            self.collector.add_decision(envelope.workspaceid, record.partition, fact)


async def _fill_in(log: ChatLog, bootstrap: str) -> None:
    """Reads the names and the time zone off the router's stored state: the events that set them may be past their retention."""
    part = quote(log.workspace_id, safe="")
    wanted = tuple(f"{scope}/{part}/".encode() for scope in ("profile", "department", "agent"))
    latest: dict[bytes, bytes] = {}
    async with TopicLog(bootstrap, (ROUTER_STATE,), partition=log.partition) as topics:
        async for record in topics.stream():
            if record.key is not None and record.value is not None and record.key.startswith(wanted):
                latest[record.key] = record.value
    partition = Partition(log.partition)
    changelog = Changelog(partition)
    for key, value in latest.items():
        changelog.restore(key, value)
    log.ws = partition.workspaces.get(log.workspace_id, log.ws)
