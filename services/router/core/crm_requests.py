"""Agents' requests to the CRM: a lead for the visitor, a note for the lead's owner, a phone number.

The one rule: the router checks chat and right and passes the request on; what the CRM makes of it is settled by crm_sync.
"""

from typing import Literal

from schemas import events as e
from schemas import notices as n
from services.router.core import endings
from services.router.core.ids import mint
from services.router.core.refusals import refuse
from services.router.core.state import Emission, Workspace

CrmRequest = e.CrmLeadRequested | e.CrmNoteRequested | e.CrmPhoneSet


def requested(ws: Workspace, event: CrmRequest) -> tuple[Emission, ...]:
    """The notice that crm_sync works by. Any agent may ask for a lead or leave a note; a phone number takes the right to use the CRM."""
    agent = ws.agent(event.by_agent_id)
    if agent is None:
        return (refuse(ws, "unknown_agent", "the agent is not known", subject=event.chat_id),)
    chat = ws.chats.get(event.chat_id)
    if chat is None:
        return (refuse(ws, "unknown_chat", "the chat is not known", subject=event.chat_id),)
    if isinstance(event, e.CrmPhoneSet) and agent.settings.crm == "none":
        return (refuse(ws, "not_permitted", "the agent may not use the CRM", subject=event.chat_id),)
    kind, value = _wish(event)
    return (
        n.NoticeCrmRequested(
            notice_id=mint(ws.id, ws.cause, f"crm/{chat.id}"),
            request_id=ws.request_id,
            kind=kind,
            chat_id=chat.id,
            agent=endings.card(agent),
            visitor=chat.visitor,
            value=value,
        ),
    )


def _wish(event: CrmRequest) -> tuple[Literal["lead", "note", "phone"], str | None]:
    """What is asked of the CRM, and with which text."""
    match event:
        case e.CrmLeadRequested():
            return "lead", event.note
        case e.CrmNoteRequested():
            return "note", event.text
        case _:
            return "phone", event.phone
