"""Chats as they stand: who waits where, who is rung, who has whom, the missed inbox, tags, and which monitors match.

The one rule: a chat's row takes its decisions in the order of `chat.routing.v1` and knows the last one it took, so an older one never
changes it again. Nothing is decided here: what a decision does not say is not known.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from sqlalchemy import Connection, delete, select, update

from schemas import decisions as d
from services.transcript.archive import standing, tables
from services.transcript.archive.batch import Told
from services.transcript.archive.rows import Row
from services.transcript.archive.writing import having, put

Chat: TypeAlias = dict[str, Any]
"""A row of `conversations`."""
Key: TypeAlias = tuple[str, str]
_EMPTY: Chat = dict.fromkeys(tables.conversations.columns.keys()[2:])
_NOBODY: dict[str, Any] = {"owner_id": None, "entered_ms": None, "offer_id": None, "rung_agent_ids": None}
_QUEUE_OFFERS = ("new", "bot_transfer")


def settle(connection: Connection, decisions: Iterable[Told]) -> None:
    """Takes the decisions about chats in their order."""
    told = [each for each in decisions if type(each.data) in _CHANGES or isinstance(each.data, _MATCHES)]
    chats = _stored(connection, {each.chat for each in told})
    tagged: set[Key] = set()
    for each in told:
        key = each.chat
        chat = chats[key]
        if each.offset <= chat["decided_offset"]:
            continue
        if chat["phase"] == "closed" and isinstance(each.data, _BEGINNINGS):
            chat |= _EMPTY  # its id is used again, by another chat
            tagged.add(key)
        chat["decided_offset"] = each.offset
        if isinstance(each.data, _MATCHES):
            _match(connection, each)
        else:
            _CHANGES[type(each.data)](chat, each)
        if isinstance(each.data, d.ChatTagged):
            tagged.add(key)
    put(connection, [Row(tables.conversations, chat) for chat in chats.values()])
    _tag(connection, {key: chats[key] for key in sorted(tagged)})


def _stored(connection: Connection, keys: set[Key]) -> dict[Key, Chat]:
    c = tables.conversations.c
    found = {
        key: _EMPTY | {"decided_offset": -1, "workspace_id": key[0], "chat_id": key[1]}
        for key in sorted(keys)
    }
    for of_chats in having((c.workspace_id, c.chat_id), found):
        for row in connection.execute(select(tables.conversations).where(of_chats)).mappings():
            offset = -1 if row["decided_offset"] is None else row["decided_offset"]
            found[row["workspace_id"], row["chat_id"]] = {**row, "decided_offset": offset}
    return found


def _match(connection: Connection, told: Told) -> None:
    """A monitor matches, or no more."""
    matched: d.MonitorMatched | d.MonitorUnmatched = told.data
    key = {
        "workspace_id": told.workspace_id,
        "chat_id": matched.chat_id,
        "monitor_id": matched.monitor_id,
    }
    if isinstance(matched, d.MonitorMatched):
        times = {"since_ms": told.at_ms, "until_ms": None}
        put(
            connection,
            [Row(standing.matches, key | times | {"owner_agent_id": matched.owner_agent_id})],
        )
    else:
        connection.execute(update(standing.matches).filter_by(**key).values(until_ms=told.at_ms))


def _tag(connection: Connection, chats: dict[Key, Chat]) -> None:
    t = standing.tags.c
    for of_chats in having((t.workspace_id, t.chat_id), chats):
        connection.execute(delete(standing.tags).where(of_chats))
    put(
        connection,
        [
            Row(standing.tags, {"workspace_id": key[0], "tag": tag, "chat_id": key[1]})
            for key, chat in chats.items()
            for tag in chat["tags"] or ()
        ],
    )


# ---------------------------------------------------------------- what each decision changes


def _enter(chat: Chat, phase: str, at_ms: int) -> None:
    """Puts a chat into a phase, in which it is since now unless it was in it before."""
    if chat["phase"] != phase:
        chat |= {"phase": phase, "since_ms": at_ms}
    if chat["revision"] is None:
        chat["revision"] = 1


def _queued(chat: Chat, told: Told) -> None:
    _enter(chat, "waiting", told.at_ms)
    chat |= _NOBODY | {"department_id": told.data.department_id, "entered_ms": told.at_ms}


def _offered(chat: Chat, told: Told) -> None:
    """An offer out of the queue; transfers and invitations leave a chat where it is."""
    offer: d.ChatOffered = told.data
    if offer.kind not in _QUEUE_OFFERS:
        return
    if chat["phase"] != "waiting":
        _enter(chat, "waiting", told.at_ms)
        chat |= _NOBODY | {"entered_ms": told.at_ms}
    rung = chat["rung_agent_ids"] or [] if chat["offer_id"] == offer.offer_id else []
    chat |= {"offer_id": offer.offer_id, "rung_agent_ids": [*rung, *offer.agent_ids]}


def _withdrawn(chat: Chat, told: Told) -> None:
    if chat["offer_id"] != told.data.offer_id:
        return
    rung = [agent_id for agent_id in chat["rung_agent_ids"] if agent_id not in told.data.agent_ids]
    chat |= {"rung_agent_ids": rung or None, "offer_id": chat["offer_id"] if rung else None}


def _assigned(chat: Chat, told: Told) -> None:
    _enter(chat, "owned", told.at_ms)
    chat |= _NOBODY | {"owner_id": told.data.agent_id, "department_id": told.data.department_id}
    chat["since_ms"] = told.at_ms


def _unassigned(chat: Chat, told: Told) -> None:
    """Back into the queue, where what follows says more; a transferred chat is assigned next."""
    _enter(chat, "waiting", told.at_ms)
    chat |= _NOBODY | {"entered_ms": told.at_ms}


def _missed(chat: Chat, told: Told) -> None:
    """Nobody's, and in the inbox; unless it is closed next, its bot goes on with it."""
    missed: d.ChatMissed = told.data
    _enter(chat, "bot", told.at_ms)
    chat |= _NOBODY | {"department_id": missed.rule.department_id, "revision": missed.revision}
    chat |= {"inbox_status": "open", "inbox_agent_id": None}
    chat |= {"missed_at_ms": told.at_ms, "missed_tag": missed.tag}


def _reopened(chat: Chat, told: Told) -> None:
    """Lives again, with its bot unless what follows says otherwise, and is not in the inbox."""
    _enter(chat, "bot", told.at_ms)
    chat |= _NOBODY | {"revision": told.data.revision, "inbox_status": None, "inbox_agent_id": None}
    chat |= {"missed_at_ms": None, "missed_tag": None}


def _closed(chat: Chat, told: Told) -> None:
    closed: d.ChatClosed = told.data
    _enter(chat, "closed", told.at_ms)
    chat |= _NOBODY | {"department_id": closed.department.id, "revision": closed.revision}
    chat["participants"] = None


def _joined(chat: Chat, told: Told) -> None:
    chat["participants"] = {**(chat["participants"] or {}), told.data.agent_id: told.data.role}


def _left(chat: Chat, told: Told) -> None:
    staying = {
        name: role for name, role in (chat["participants"] or {}).items() if name != told.data.agent_id
    }
    chat["participants"] = staying or None


def _updated(chat: Chat, told: Told) -> None:
    chat |= {"inbox_status": told.data.status, "inbox_agent_id": told.data.agent_id}


def _tagged(chat: Chat, told: Told) -> None:
    chat["tags"] = list(told.data.tags)


_BEGINNINGS = (d.ChatQueued, d.ChatOffered, d.ChatAssigned, d.ChatMissed, d.ChatClosed)
"""What a closed chat hears of only if it is another one by now: one that goes on is reopened first."""
_MATCHES = (d.MonitorMatched, d.MonitorUnmatched)
_CHANGES: dict[type, Callable[[Chat, Told], None]] = {
    d.ChatQueued: _queued,
    d.ChatOffered: _offered,
    d.OfferWithdrawn: _withdrawn,
    d.ChatAssigned: _assigned,
    d.ChatUnassigned: _unassigned,
    d.ChatMissed: _missed,
    d.ChatReopened: _reopened,
    d.ChatClosed: _closed,
    d.ParticipantJoined: _joined,
    d.ParticipantLeft: _left,
    d.MissedUpdated: _updated,
    d.ChatTagged: _tagged,
}
"""What each decision changes about a chat."""
