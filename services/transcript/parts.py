"""Makes the transcript of a closed conversation, in numbered parts where it is long.

The one rule: everything is selected by input offset, nothing by what happens to have been read already.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeAlias

from schemas.envelope import to_ms
from schemas.frozen import dataclass
from schemas.transcripts import TranscriptCompleted, TranscriptMessage
from services.transcript.state import Closing, Context, Message, Request

PART_BYTES_MAX = 900_000
"""Leaves room below the broker's default record limit of 1,048,588 bytes."""
ENVELOPE_BYTES_MAX = 4_096
"""The envelope around the data, ids of 128 characters included."""

Link: TypeAlias = Callable[[str, str, int, int], str]
"""(workspace id, chat id, revision, ended_at in ms) to the address of the transcript's page."""
SizeBytes: TypeAlias = Callable[[Any], int]
"""How many bytes a value takes in a record."""


@dataclass(frozen=True, slots=True)
class Completed:
    """One part of a transcript, ready to be written."""

    workspace_id: str
    data: TranscriptCompleted
    at_ms: int
    context: Context | None = None


def parse_ms(moment: str) -> int:
    """Milliseconds since the epoch of RFC 3339 text."""
    return to_ms(datetime.fromisoformat(moment))


def accepted(messages: Iterable[Message], *, after_offset: int, until_offset: int) -> list[TranscriptMessage]:
    """The messages of one conversation in log order, each message id once, refused ones left out."""
    said: dict[str, TranscriptMessage] = {}
    for message in messages:
        if after_offset < message.offset <= until_offset and not message.refused:
            said.setdefault(message.said.message_id, message.said)
    return list(said.values())


def transcript(
    closing: Closing,
    request: Request,
    messages: list[TranscriptMessage],
    *,
    link: Link,
    size_bytes: SizeBytes,
) -> list[Completed]:
    """The parts of a conversation, at least one, each of at most `PART_BYTES_MAX` as a record."""
    closed = closing.closed
    ended_ms = parse_ms(closed.ended_at)
    missed = closing.missed if closed.outcome == "missed" else None
    if missed is not None and missed.revision != closed.revision:
        missed = None
    tags = closing.tags.tags if closing.tags is not None and closing.tags.offset > request.offset else ()
    whole = TranscriptCompleted(
        chat_id=closed.chat_id,
        revision=closed.revision,
        part=1,
        parts=1,
        outcome=closed.outcome,
        question=request.question,
        channel=request.channel,
        visitor=closed.visitor,
        department=closed.department,
        agents=closed.agents,
        started_at=closed.started_at,
        ended_at=closed.ended_at,
        messages=tuple(messages),
        tags=tags,
        email=closed.email,
        link=link(closing.workspace_id, closed.chat_id, closed.revision, ended_ms),
        reason=missed.reason if missed else closed.reason,
        tag=missed.tag if missed else None,
    )
    room_bytes = PART_BYTES_MAX - ENVELOPE_BYTES_MAX
    if size_bytes(whole) < room_bytes:  # as almost every conversation
        return [Completed(closing.workspace_id, whole, ended_ms, closing.context)]
    room_bytes -= size_bytes(replace(whole, messages=()))
    shares = _shares(messages, room_bytes=room_bytes, size_bytes=size_bytes)
    return [
        Completed(
            closing.workspace_id,
            replace(whole, part=number, parts=len(shares), messages=tuple(share)),
            ended_ms,
            closing.context,
        )
        for number, share in enumerate(shares, start=1)
    ]


def _shares(
    messages: list[TranscriptMessage], *, room_bytes: int, size_bytes: SizeBytes
) -> list[list[TranscriptMessage]]:
    """The messages in runs that fit; a message alone always does, since its text has a limit."""
    shares: list[list[TranscriptMessage]] = [[]]
    left_bytes = room_bytes
    for message in messages:
        needed_bytes = size_bytes(message) + 1  # the comma
        if needed_bytes > left_bytes and shares[-1]:
            shares.append([])
            left_bytes = room_bytes
        shares[-1].append(message)
        left_bytes -= needed_bytes
    return shares
