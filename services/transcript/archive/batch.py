"""What the archive writes in one transaction: the rows of some records, and what has to be told in order.

The one rule: records are taken in the order of their partition.
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from schemas.codec import Poison
from schemas.envelope import PartitionEnvelope, to_ms
from schemas.events import AgentConfigured, AgentDeleted, AgentHeartbeat, AgentPresence
from schemas.frozen import dataclass as frozen
from schemas.topics import EVENTS, ROUTING
from services.runtime.ports import InputRecord
from services.transcript.archive.clocks import Clock
from services.transcript.archive.rows import Row, read, rows
from services.transcript.archive.settings import snapshot

Partition: TypeAlias = tuple[str, int]
"""Topic and partition number."""
PRESENCE = (AgentConfigured, AgentDeleted, AgentHeartbeat, AgentPresence)


@frozen(frozen=True, slots=True)
class Told:
    """An event or a decision at its place in its topic; `at_ms` and `clock`: the time there."""

    workspace_id: str
    source: str
    event_id: str
    offset: int
    at_ms: int
    clock: Clock
    data: Any

    @property
    def chat(self) -> tuple[str, str]:
        """The workspace's and the chat's id; an empty one where it is about no chat."""
        return self.workspace_id, getattr(self.data, "chat_id", None) or ""


@dataclass(slots=True)
class Batch:
    """Rows, events about presence, decisions, and how far each partition was read."""

    rows: list[Row] = field(default_factory=list)
    events: list[Told] = field(default_factory=list)
    decisions: list[Told] = field(default_factory=list)
    moved: dict[Partition, tuple[int, int]] = field(default_factory=dict)
    """The offset each partition was read from, and the next one."""
    clocks: dict[Partition, Clock] = field(default_factory=dict)
    heard: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Workspaces: the time of their newest record, and their partition."""
    unreadable: int = 0

    def take(self, record: InputRecord) -> None:
        """Takes the next record of its partition. What can't be read has nothing to show: whoever acts on it makes it a dead letter."""
        try:
            envelope = read(record)
        except Poison:
            self.unreadable += 1
            return
        partition = (record.topic, record.partition)
        clock = self.clocks[partition] = self.clocks.get(partition, Clock()).at(record.timestamp_ms)
        if envelope is None:
            return
        if isinstance(envelope, PartitionEnvelope):
            self.clocks[partition] = clock.tick(envelope.data.limit_ms)
            return
        workspace_id, data = envelope.workspaceid, envelope.data
        as_of_ms, _ = self.heard.get(workspace_id, (0, 0))
        self.heard[workspace_id] = (max(as_of_ms, record.timestamp_ms), record.partition)
        told = Told(
            workspace_id, envelope.source, envelope.id, record.offset, to_ms(envelope.time), clock, data
        )
        if record.topic == EVENTS:
            kept = snapshot(envelope, offset=record.offset, at_ms=clock.at_ms)
            if kept is not None:
                self.rows.append(kept)
            if isinstance(data, PRESENCE):
                self.events.append(told)
        elif record.topic == ROUTING:
            self.decisions.append(told)
        self.rows += rows(envelope, offset=record.offset, at_ms=record.timestamp_ms)
