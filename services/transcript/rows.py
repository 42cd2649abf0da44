"""Turns records of the six topics into rows of the archive.

The one rule: the same record gives the same rows, and writing them again changes nothing.
"""

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Table

from schemas import codec, topics
from schemas.decisions import (
    ChatClosed,
    ChatMissed,
    ChatReopened,
    ChatTagged,
    MissedUpdated,
    RequestRefused,
)
from schemas.envelope import Envelope, to_ms
from schemas.events import ChatFeedback, ChatNoteAdded, ChatRequested
from schemas.notices import NoticeReply
from schemas.outcomes import CrmSettled, MailSettled
from schemas.transcripts import TranscriptCompleted
from schemas.types import MissedStatus
from services.runtime.ports import InputRecord
from services.transcript import tables
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
    """One row to insert; where its key exists already, its other columns replace what is there."""

    table: Table
    values: dict[str, Any]


def rows(record: InputRecord) -> list[Row]:
    """The rows of one record. Raises `codec.Poison`; an unknown type has none."""
    try:
        envelope = _CODECS[record.topic].decode(record.value)
    except codec.UnknownType:
        return []
    if not isinstance(envelope, Envelope):
        return []
    if record.key != envelope.workspaceid.encode():
        raise codec.Poison("the record's key is not its workspaceid")
    match envelope.data:
        case ChatRequested() | ChatFeedback() | ChatNoteAdded():
            return [_event(envelope, at_ms=record.timestamp_ms)]
        case TranscriptCompleted():
            return _transcript(envelope, envelope.data)
        case MailSettled() | CrmSettled():
            return [_outcome(envelope)]
        case NoticeReply():
            return [_reply(envelope, envelope.data)]
        case _:
            return _decision(envelope)


def _plain(value: Any) -> Any:
    """A dataclass, or several, as JSON values."""
    return orjson.loads(codec.dumps(value))


def _event(envelope: Envelope[str, Any], *, at_ms: int) -> Row:
    data = envelope.data
    base = {
        "workspace_id": envelope.workspaceid,
        "source": envelope.source,
        "event_id": envelope.id,
        "chat_id": data.chat_id,
        "at_ms": at_ms,
    }
    match data:
        case ChatRequested():
            extra = {"channel": data.channel, "question": data.question, "visitor": _plain(data.visitor)}
            return Row(tables.requests, base | extra)
        case ChatFeedback():
            extra = {"rating": data.rating, "comment": data.comment, "agent_id": data.agent_id}
            return Row(tables.feedback, base | extra)
        case _:
            extra = {"note_id": data.note_id, "by_agent_id": data.by_agent_id, "text": data.text}
            return Row(tables.notes, base | extra)


def _decision(envelope: Envelope[str, Any]) -> list[Row]:
    data = envelope.data
    chat = {"workspace_id": envelope.workspaceid, "chat_id": getattr(data, "chat_id", None)}
    match data:
        case ChatClosed():
            return [Row(tables.chats, chat | _closed(data))]
        case ChatMissed():
            missed = Row(tables.chats, chat | _missed(data, at_ms=to_ms(envelope.time)))
            return [missed, _inbox(chat, "open")]
        case ChatReopened():
            return [_inbox(chat, None)]
        case ChatTagged():
            return [Row(tables.conversations, chat | {"tags": list(data.tags)})]
        case MissedUpdated():
            return [_inbox(chat, data.status, data.agent_id)]
        case RequestRefused():
            values = {
                "workspace_id": envelope.workspaceid,
                "decision_id": envelope.id,
                "request_id": data.request_id,
                "request_type": data.request_type,
                "code": data.code,
                "subject": data.subject,
            }
            return [Row(tables.refusals, values)]
        case _:
            return []


def _inbox(chat: dict[str, Any], status: MissedStatus | None, agent_id: str | None = None) -> Row:
    """A missed chat stands open in the inbox until it is said otherwise; one that lives again is not in it."""
    return Row(tables.conversations, chat | {"inbox_status": status, "inbox_agent_id": agent_id})


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
        "visitor": _plain(data.visitor),
        "agents": _plain(data.agents),
        "language": data.email.language,
        "timezone": data.email.timezone,
    }


def _missed(data: ChatMissed, *, at_ms: int) -> dict[str, Any]:
    return {
        "revision": data.revision,
        "missed_at_ms": at_ms,
        "missed_reason": data.reason,
        "missed_detail": data.detail,
        "missed_tag": data.tag,
        "rule": _plain(data.rule),
        "available_at_start": _plain(data.available_at_start),
        "available_at_missed": _plain(data.available_at_missed),
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
    return [head, Row(tables.transcripts, {**part, "event_id": envelope.id}), *said]


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
        "owner": _plain(data.owner) if data.owner else None,
    }
    return Row(tables.activities, base | crm)
