"""Whom a chat is with, and who asks: what a service needs to know before it shows an agent something from elsewhere, such as a CRM's card.

The one rule: a service asks with the agent's own token, so it needs no right of its own and repeats no rule of who may.
"""

from dataclasses import dataclass

from sqlalchemy import select

from schemas.types import CrmRight, Outcome
from services.runtime.openapi import Asked
from services.transcript.api.access import Caller, Role
from services.transcript.api.chat import ChatAsked, find, visitor_of
from services.transcript.api.chats import Named
from services.transcript.api.reader import Reader, moment
from services.transcript.archive import standing


@dataclass(frozen=True, slots=True)
class Rights:
    """How far the rights of who asks go, as the archive knows them now; a token without an agent's name is a program's."""

    agent_id: str | None
    role: Role
    crm: CrmRight


@dataclass(frozen=True, slots=True)
class ChatVisitor:
    """Whom a chat is with, and how its latest revision ended, if it has. Of a chat whose beginning the archive has not seen no visitor is known."""

    as_of: str | None
    chat_id: str
    visitor_id: str | None
    name: str | None
    email: str | None
    phone: str | None
    language: str | None
    outcome: Outcome | None
    ended_at: str | None
    caller: Rights


@dataclass(frozen=True, slots=True)
class WhoAsks:
    """Who asks, in which workspace."""

    as_of: str | None
    workspace: Named
    caller: Rights


async def visitor(reader: Reader, asked: ChatAsked) -> ChatVisitor:
    """Whom a chat is with, whether it lives or has ended, and the rights of who asks."""
    found = await find(reader, asked.chat_id, noun="visitors")
    known = await visitor_of(reader, asked.chat_id, found)
    return ChatVisitor(
        as_of=reader.as_of,
        chat_id=asked.chat_id,
        visitor_id=known.get("visitor_id"),
        name=known.get("name"),
        email=known.get("email"),
        phone=known.get("phone"),
        language=known.get("language"),
        outcome=found["outcome"],
        ended_at=moment(found["ended_at_ms"]),
        caller=_rights(reader.caller),
    )


async def caller(reader: Reader, asked: Asked) -> WhoAsks:
    """Who the token is for, and their rights."""
    w = standing.workspaces.c
    name = await reader.connection.scalar(select(w.name).where(w.workspace_id == asked.workspace))
    return WhoAsks(reader.as_of, Named(asked.workspace, name), _rights(reader.caller))


def _rights(caller: Caller) -> Rights:
    return Rights(caller.agent_id, caller.role, caller.crm)
