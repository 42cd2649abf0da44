"""What the assembler remembers of one partition: conversations, closings that wait, refusals read early.

The one rule: *what* is stored follows from `chat.events.v1` alone; `chat.routing.v1` only sets flags. So a transcript, which selects
by offset, is the same however the two topics were interleaved.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from schemas.decisions import ChatClosed
from schemas.transcripts import TranscriptMessage
from schemas.types import Channel, MissedTag

ChatKey: TypeAlias = tuple[str, str]
"""Workspace id and chat id."""
Context: TypeAlias = tuple[tuple[str, str], ...]
"""Headers that are passed on from record to record."""
StateKey: TypeAlias = tuple[str | int, ...]
"""Names one changelog record: `("chat", workspace, chat)`, `("message", workspace, chat, offset)` and so on."""


@dataclass(slots=True)
class Request:
    """One `chat.requested.v1`; a chat id may see several (refused ones, duplicates of closed ones, ids used again)."""

    offset: int
    at_ms: int
    event: str
    question: str
    channel: Channel
    refused: bool = False


@dataclass(slots=True)
class Message:
    """One `chat.message.v1` at its place in the log; `event` is its (source, id)."""

    offset: int
    at_ms: int
    event: str
    said: TranscriptMessage
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Missed:
    """The last `chat.missed.v1`."""

    revision: int
    reason: str
    tag: MissedTag


@dataclass(frozen=True, slots=True)
class Tags:
    """The last `chat.tagged.v1` and the input offset it was decided at."""

    offset: int
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Closing:
    """A `chat.closed.v1` with what the decisions before it said, waiting until the input is read past its source.

    `number` is its offset in `chat.routing.v1`: closings complete in that order. After a `final` one the chat can't be reopened.
    """

    number: int
    workspace_id: str
    closed: ChatClosed
    final: bool
    missed: Missed | None = None
    tags: Tags | None = None
    context: Context | None = None
    """What the decision's record carried beside its value, for the transcript's. Nothing here reads it."""

    @property
    def chat(self) -> ChatKey:
        """The conversation it closes."""
        return (self.workspace_id, self.closed.chat_id)


@dataclass(slots=True)
class Head:
    """A conversation without its messages.

    `deleted`: taken out of the inbox while a bot goes on, so its closing will be final, unless that bot asks for people again.
    `done_offset`: where the last final closing was decided (-1: none).
    """

    requests: dict[int, Request] = field(default_factory=dict)
    missed: Missed | None = None
    tags: Tags | None = None
    live: bool = True
    deleted: bool = False
    done_offset: int = -1
    touched_ms: int = 0


@dataclass(slots=True)
class Conversation:
    """A head, the messages by offset (in log order) and the number of closings that wait."""

    head: Head = field(default_factory=Head)
    messages: dict[int, Message] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    segment: int = 0
    """Messages stored since the last request."""
    waiting: int = 0

    def request(self, until_offset: int) -> Request | None:
        """The request a closing decided at `until_offset` belongs to.

        It is the last one not refused: while a chat is known, the router refuses another request for its id.
        """
        offsets = [o for o, r in self.head.requests.items() if o <= until_offset and not r.refused]
        return self.head.requests[max(offsets)] if offsets else None

    @property
    def open(self) -> bool:
        """Whether a request after the last final closing may still be decided about."""
        return any(o > self.head.done_offset and not r.refused for o, r in self.head.requests.items())


@dataclass(slots=True)
class Progress:
    """How far `chat.events.v1` has been read (`position` is the next offset), and its log time."""

    position: int = 0
    now_ms: int = 0


Stored: TypeAlias = Head | Message | Closing | Progress | int
"""The value of a changelog record; an int is the offset of a refusal read before the event it refuses."""
