"""Turns records of the six topics into rows of the archive.

The one rule: the same record gives the same rows, and writing them again changes nothing. What depends on other records as well is
made of these rows when they are written (`settings.py`, `presence.py`, `live.py`).
"""

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Table

from schemas import codec, topics
from schemas.decisions import ChatClosed, ChatMissed, RequestRefused
from schemas.envelope import Envelope, PartitionEnvelope, to_ms
from schemas.events import ChatFeedback, ChatNoteAdded, ChatRequested, RouterTick, VisitorUpdated
from schemas.notices import NoticeReply
from schemas.outcomes import CrmSettled, MailSettled
from schemas.transcripts import TranscriptCompleted
from services.runtime.ports import InputRecord
from services.transcript.archive import standing, tables
from services.transcript.archive.folding import searched
from services.transcript.parts import parse_ms

_CODECS = {
    topics.EVENTS: codec.events,
    topics.ROUTING: codec.decisions,
    topics.NOTICES: codec.notices,
    topics.TRANSCRIPTS: codec.transcripts,
    topics.DELIVERIES: codec.deliveries,
    topics.ACTIVITIES: codec.activities,
}
TOPICS = tuple(_CODECS)


@dataclass(frozen=True, slots=True)
class Row:
    """One row to insert; where its key exists already, its other columns replace what is there (`writing.py`)."""

    table: Table
    values: dict[str, Any]

    @property
    def chat(self) -> tuple[str, str]:
        """The workspace's and the chat's id; an empty one where it is about no chat."""
        return self.values.get("workspace_id", ""), self.values.get("chat_id") or ""


def read(record: InputRecord) -> Envelope[str, Any] | PartitionEnvelope[str, RouterTick] | None:
    """The envelope of a record; None for an unknown type. Raises `codec.Poison`."""
    try:
        envelope: Envelope[str, Any] | PartitionEnvelope[str, RouterTick] = _CODECS[record.topic].decode(
            record.value
        )
    except codec.UnknownType:
        return None
    if isinstance(envelope, Envelope) and record.key != envelope.workspaceid.encode():
        raise codec.Poison("the record's key is not its workspaceid")
    return envelope


def rows(envelope: Envelope[str, Any], *, offset: int, at_ms: int) -> list[Row]:
    """The rows of one record; `at_ms`: its own time."""
    match envelope.data:
        case ChatRequested() | ChatFeedback() | ChatNoteAdded() | VisitorUpdated():
            return [_event(envelope, offset=offset, at_ms=at_ms)]
        case TranscriptCompleted():
            return _transcript(envelope, envelope.data)
        case MailSettled() | CrmSettled():
            return [_outcome(envelope)]
        case NoticeReply():
            return [_reply(envelope, envelope.data)]
        case _:
            return _decision(envelope)


def plain(value: Any) -> Any:
    """A dataclass, or several, as JSON values."""
    return orjson.loads(codec.dumps(value))


def _event(envelope: Envelope[str, Any], *, offset: int, at_ms: int) -> Row:
    data = envelope.data
    base = {
        "workspace_id": envelope.workspaceid,
        "source": envelope.source,
        "event_id": envelope.id,
        "chat_id": data.chat_id,
        "at_ms": at_ms,
        "offset": offset,
    }
    match data:
        case ChatRequested():
            extra = {
                "channel": data.channel,
                "question": data.question,
                "visitor": plain(data.visitor),
                "department_id": data.department_id,
                "bot_id": data.bot_id,
                "priority": data.priority,
                "visitor_id": data.visitor.visitor_id,
            }
            return Row(tables.requests, base | extra)
        case VisitorUpdated():
            return Row(tables.visitor_updates, base | {"visitor": plain(data.visitor)})
        case ChatFeedback():
            extra = {"rating": data.rating, "comment": data.comment, "agent_id": data.agent_id}
            return Row(tables.feedback, base | extra)
        case _:
            extra = {"note_id": data.note_id, "by_agent_id": data.by_agent_id, "text": data.text}
            return Row(tables.notes, base | extra)


def _decision(envelope: Envelope[str, Any]) -> list[Row]:
    data = envelope.data
    match data:
        case ChatClosed():
            chat = {"workspace_id": envelope.workspaceid, "chat_id": data.chat_id}
            return [
                Row(tables.chats, chat | _closed(data)),
                *(Row(tables.chat_agents, chat | took_part) for took_part in _took_part(data)),
            ]
        case ChatMissed():
            chat = {"workspace_id": envelope.workspaceid, "chat_id": data.chat_id}
            return [Row(tables.chats, chat | _missed(data, at_ms=to_ms(envelope.time)))]
        case RequestRefused():
            values = {
                "workspace_id": envelope.workspaceid,
                "decision_id": envelope.id,
                "request_id": data.request_id,
                "request_type": data.request_type,
                "code": data.code,
                "subject": data.subject,
                "request_offset": data.cause.offset if data.cause else None,
            }
            return [Row(tables.refusals, values)]
        case _:
            return []


def _closed(data: ChatClosed) -> dict[str, Any]:
    return {
        "revision": data.revision,
        "outcome": data.outcome,
        "end_reason": data.reason,
        "ended_by": data.ended_by,
        "started_at_ms": parse_ms(data.started_at),
        "ended_at_ms": parse_ms(data.ended_at),
        "department_id": data.department.id,
        "department_name": data.department.name,
        "visitor_id": data.visitor.visitor_id,
        "visitor": plain(data.visitor),
        "agents": plain(data.agents),
        "language": data.email.language,
        "timezone": data.email.timezone,
    }


def _took_part(data: ChatClosed) -> list[dict[str, Any]]:
    ended = {
        "revision": data.revision,
        "ended_at_ms": parse_ms(data.ended_at),
        "department_id": data.department.id,
        "outcome": data.outcome,
    }
    return [{"agent_id": agent.id, **ended} for agent in data.agents]


def _missed(data: ChatMissed, *, at_ms: int) -> dict[str, Any]:
    return {
        "revision": data.revision,
        "missed_at_ms": at_ms,
        "missed_reason": data.reason,
        "missed_detail": data.detail,
        "missed_tag": data.tag,
        "rule": plain(data.rule),
        "available_at_start": plain(data.available_at_start),
        "available_at_missed": plain(data.available_at_missed),
        "available_counts": data.available_counts,
        "reply_by_email": data.reply_by_email,
    }


def _transcript(envelope: Envelope[str, Any], data: TranscriptCompleted) -> list[Row]:
    chat = {"workspace_id": envelope.workspaceid, "chat_id": data.chat_id, "revision": data.revision}
    part = {**chat, "part": data.part}
    head = Row(
        tables.chats, {**chat, "channel": data.channel, "question": data.question, "parts": data.parts}
    )
    said = [
        Row(
            tables.messages,
            {
                **part,
                "position": position,
                "message_id": message.message_id,
                "at_ms": parse_ms(message.at),
                "sender_kind": message.sender.kind,
                "sender_id": message.sender.id,
                "sender_name": message.sender.name,
                "text": message.text,
                "internal": message.internal,
            },
        )
        for position, message in enumerate(data.messages)
    ]
    to_make = {"ended_at_ms": parse_ms(data.ended_at), "text": None, "method": None, "at_ms": None}
    wanted = [Row(tables.summaries, chat | to_make)] if data.part == data.parts else []
    said_by = ((message.internal, message.text) for message in data.messages)
    found = searched(data.question if data.part == 1 else None, said_by)
    texts = (Row(standing.texts, {**part, **text}) for text in found)
    return [head, Row(tables.transcripts, {**part, "event_id": envelope.id}), *said, *texts, *wanted]


def _reply(envelope: Envelope[str, Any], data: NoticeReply) -> Row:
    values = {
        "workspace_id": envelope.workspaceid,
        "notice_id": data.notice_id,
        "chat_id": data.chat_id,
        "at_ms": to_ms(envelope.time),
        "agent_id": data.agent.id,
        "agent_name": data.agent.name,
        "text": data.text,
    }
    return Row(tables.replies, values)


def _outcome(envelope: Envelope[str, Any]) -> Row:
    data = envelope.data
    base = {
        "workspace_id": envelope.workspaceid,
        "kind": data.kind,
        "at_ms": to_ms(envelope.time),
        "result": data.result,
        "code": data.code,
    }
    if isinstance(data, MailSettled):
        mail = {"notice_id": data.notice_id, "recipient": data.recipient, "chat_id": data.chat_id}
        return Row(tables.deliveries, base | mail)
    assert isinstance(data, CrmSettled)
    crm = {
        "request_id": data.request_id or "",
        "chat_id": data.chat_id or "",
        "revision": data.revision or 0,
        "record_id": data.record.id if data.record else "",
        "record_type": data.record.type if data.record else None,
        "record_url": data.record.url if data.record else None,
        "owner": plain(data.owner) if data.owner else None,
    }
    return Row(tables.activities, base | crm)
