"""Transcripts: the `data` of `chat.transcripts.v1`, written by the transcript worker: finished conversations.

The one rule: one record per (chat, revision, part); the parts of a long conversation repeat the head and share out the messages.
"""

from typing import ClassVar

from schemas.decisions import AgentCard, DepartmentRef, MailPlan
from schemas.events import Sender, Visitor
from schemas.frozen import dataclass
from schemas.types import Channel, Id, MissedTag, Outcome, Question, Text


@dataclass(frozen=True, slots=True)
class TranscriptMessage:
    """One message; `at` is the publisher's time, RFC 3339."""

    message_id: Id
    at: str
    sender: Sender
    text: Text
    internal: bool = False


@dataclass(frozen=True, slots=True)
class TranscriptCompleted:
    """A finished conversation, or the numbered part of one."""

    TYPE: ClassVar = "transcript.completed.v1"
    chat_id: Id
    revision: int
    part: int
    parts: int
    outcome: Outcome
    question: Question
    channel: Channel
    visitor: Visitor
    department: DepartmentRef
    agents: tuple[AgentCard, ...]
    started_at: str
    ended_at: str
    messages: tuple[TranscriptMessage, ...]
    tags: tuple[Id, ...]
    email: MailPlan
    link: str
    reason: str | None = None
    tag: MissedTag | None = None


Transcript = TranscriptCompleted
