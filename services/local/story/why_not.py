"""Why not agent X: the inputs are run again up to each choice about a chat, and the agent is looked at as they stood right before it.

The one rule: it answers only for what the router decided: where the replay does not give the recorded decisions, nothing is claimed.
"""

from dataclasses import dataclass, field
from pathlib import Path

from schemas import codec
from schemas import decisions as d
from schemas.envelope import PartitionEnvelope
from schemas.topics import EVENTS, dead_letters
from services.local.display import visible
from services.local.errors import LocalError
from services.local.export import refused_positions
from services.local.input_log import holds_ticks, read
from services.local.story.chat_log import ChatLog
from services.local.story.verdicts import Verdict, judge, judge_transfer
from services.local.topic_log import TopicLog
from services.router.core.evolve import evolve
from services.router.core.fold import Fold
from services.router.core.partition import Emitted, Entry, decided
from services.router.core.state import Emission, Workspace
from services.router.processor import read_entry

Choice = d.ChatOffered | d.ChatAssigned | d.ChatQueued | d.ChatMissed


@dataclass(frozen=True, slots=True)
class Moment:
    """A choice about the chat, or a time when there was nobody to choose, and how it stood with the agent."""

    at_ms: int
    data: Choice
    verdict: Verdict


@dataclass(slots=True)
class Inquiry:
    """A replay of the chat's partition, as far as its own workspace goes."""

    log: ChatLog
    agent_id: str
    fold: Fold
    moments: list[Moment] = field(default_factory=list)
    unmet: dict[str, None] = field(default_factory=dict)
    """The chat's recorded decisions that the replay has not given yet."""
    _ending: Verdict | None = None
    """How it stood when the last offer was withdrawn because the chat ends: by the time it is missed that is gone."""
    _now_ms: int = 0
    _until_ms: int = 0

    def __post_init__(self) -> None:
        if self.agent_id not in self.log.ws.agents:
            place = f"workspace {visible(self.log.workspace_id)}"
            raise LocalError(f"No agent {visible(self.agent_id)} is known in {place}: check the id.")
        self.unmet = {fact.id: None for fact in self.log.decisions}
        self._until_ms = max((fact.at_ms for fact in self.log.decisions), default=0)

    def enter(self, entry: Entry) -> bool:
        """Takes the partition's next record; False once the last decision about the chat lies behind."""
        # Every record sets the time, whosesoever it is.
        self._now_ms = max(self._now_ms, entry.at_ms)
        if self._now_ms > self._until_ms:
            return False
        envelope = entry.envelope
        if isinstance(envelope, PartitionEnvelope) or envelope.workspaceid == self.log.workspace_id:
            timed = Entry(envelope, entry.partition, entry.offset, self._now_ms)
            for step in self.fold.enter(timed):
                self._replayed(decided(step, apply=self._look))
        return True

    def finish(self) -> list[Moment]:
        """What was found, in order. Raises LocalError where the replay decides otherwise than the service did."""
        if self.fold.partition.clock.exact:
            for step in self.fold.fire(self._until_ms):
                self._replayed(decided(step, apply=self._look))
        if self.unmet:
            raise LocalError(
                "The replay decides otherwise than the service did, so it can't tell why:"
                " explain it with the version that decided."
            )
        return self.moments

    def _replayed(self, emitted: list[Emitted]) -> None:
        for item in emitted:
            self.unmet.pop(item.id, None)

    def _look(self, ws: Workspace, data: Emission) -> None:
        """Looks at the agent before a choice about the chat is applied."""
        if ws.id == self.log.workspace_id and getattr(data, "chat_id", None) == self.log.chat_id:
            match data:
                case d.OfferWithdrawn(reason="chat_missed" | "chat_ended" | "visitor_left"):
                    self._ending = judge(ws, data.chat_id, self.agent_id)
                case d.ChatMissed():
                    self._note(ws, data, self._ending or judge(ws, data.chat_id, self.agent_id))
                    self._ending = None
                case d.ChatQueued():
                    self._note(ws, data, judge(ws, data.chat_id, self.agent_id))
                case d.ChatOffered(kind="new" | "bot_transfer"):
                    self._note(ws, data, judge(ws, data.chat_id, self.agent_id, chosen=data.agent_ids))
                case d.ChatOffered(kind="transfer"):
                    self._note(
                        ws, data, judge_transfer(ws, data.chat_id, self.agent_id, chosen=data.agent_ids)
                    )
                case d.ChatAssigned(by="auto"):
                    self._note(ws, data, judge(ws, data.chat_id, self.agent_id, chosen=(data.agent_id,)))
                case _:
                    pass
        evolve(ws, data)

    def _note(self, ws: Workspace, data: Choice, verdict: Verdict) -> None:
        self.moments.append(Moment(ws.now_ms, data, verdict))


def in_file(path: Path, log: ChatLog, agent_id: str) -> list[Moment]:
    """Looks an exported log through. Raises LocalError."""
    inquiry = Inquiry(log, agent_id, Fold(log.partition, exact=not holds_ticks(path)))
    for entry in read(path):
        if entry.partition == log.partition and not inquiry.enter(entry):
            break
    return inquiry.finish()


async def in_topics(bootstrap: str, log: ChatLog, agent_id: str) -> list[Moment]:
    """Looks the chat's partition of a running service through. Raises LocalError."""
    refused: set[tuple[int, int]] = set()
    async with TopicLog(bootstrap, (dead_letters(EVENTS),)) as letters:
        async for record in letters.stream():
            refused |= refused_positions([record])
    inquiry = Inquiry(log, agent_id, Fold(log.partition))
    async with TopicLog(bootstrap, (EVENTS,), partition=log.partition) as topics:
        if topics.begins[EVENTS, log.partition] > 0:
            raise LocalError(
                "The input log no longer begins at its beginning (records are past their retention):"
                " this version says why not only from whole logs; give one with --file."
            )
        async for record in topics.stream():
            if (record.partition, record.offset) not in refused:
                try:
                    entry = read_entry(record)
                except codec.UnknownType:
                    continue
                if not inquiry.enter(entry):
                    break
    return inquiry.finish()
