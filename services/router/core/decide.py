"""What follows from an event: `decide` reads the state and returns decisions and notices, in order.

The one rule: it writes nothing but what it has looked at in vain. A refusal is a decision; "nothing to do" is ().
"""

from typing import Final, NamedTuple, assert_never

from schemas import decisions as d
from schemas import events as e
from services.router.core import (
    annotating,
    crm_requests,
    deadlines,
    endings,
    inbox,
    monitoring,
    participation,
    placement,
    staffing,
    transfers,
)
from services.router.core.endings import End
from services.router.core.permissions import bar, may_end, speaks
from services.router.core.refusals import refuse
from services.router.core.state import Agent, Chat, Emission, Offer, Workspace
from services.router.core.timers import DeadlineReached


class Drain:
    """Asks what the step under way has made possible."""


DRAIN: Final = Drain()


def decide(ws: Workspace, event: e.Event | DeadlineReached | Drain) -> tuple[Emission, ...]:
    """The decisions that follow from an event that `evolve` has applied, or from what the step made possible."""
    match event:
        case Drain():
            return _drained(ws)
        case e.ChatMessage():
            return _message(ws, event)
        case DeadlineReached():
            return deadlines.reached(ws, event)
        case e.ChatRequested():
            return _requested(ws, event)
        case e.OfferAccepted():
            return _accepted(ws, event)
        case e.OfferDeclined():
            return _declined(ws, event)
        case e.VisitorLeft():
            chat = ws.chats.get(event.chat_id)
            if chat is None or not chat.live:
                return ()
            return endings.end(ws, chat, End(by="visitor", visitor=True, withdraw="visitor_left"))
        case e.BotTransferRequested():
            return _bot_transfer(ws, event)
        case e.ChatEndRequested():
            return _end_requested(ws, event)
        case e.ChatTransferRequested():
            return transfers.requested(ws, event)
        case e.ChatInviteRequested():
            return participation.invited(ws, event)
        case e.ChatJoinRequested():
            return participation.join_requested(ws, event)
        case e.ParticipantLeaveRequested():
            return participation.leave_requested(ws, event)
        case e.ChatFeedback():
            return annotating.feedback(ws, event)
        case e.ChatTagsChanged():
            return annotating.tags_changed(ws, event)
        case e.ChatNoteAdded():
            return annotating.note_added(ws, event)
        case e.MissedAssignRequested():
            return inbox.assign(ws, event)
        case e.MissedCloseRequested() | e.MissedDeleteRequested():
            return inbox.put_away(ws, event)
        case e.MissedReplyRequested():
            return inbox.reply(ws, event)
        case e.CrmLeadRequested() | e.CrmNoteRequested() | e.CrmPhoneSet():
            return crm_requests.requested(ws, event)
        case e.MonitorConfigured() | e.MonitorDeleted():
            return monitoring.answered(ws, event)
        case e.AgentPresence():
            return staffing.presence(ws, event)
        case e.AgentDeleted():
            return staffing.agent_deleted(ws, event)
        case e.DepartmentConfigured():
            return staffing.department_configured(ws, event)
        case e.DepartmentDeleted():
            return staffing.department_deleted(ws, event)
        case e.VisitorIpBlocked():
            return staffing.ip_blocked(ws, event)
        case e.VisitorIpUnblocked():
            known = ws.agent(event.by_agent_id) is not None
            return () if known else (refuse(ws, "unknown_agent", "the agent is not known"),)
        case e.CrmConfigured():
            return staffing.crm_configured(ws, event)
        case (
            e.WorkspaceConfigured()
            | e.AgentConfigured()
            | e.AgentHeartbeat()
            | e.CannedCategoryConfigured()
            | e.CannedCategoryDeleted()
            | e.CannedMessageConfigured()
            | e.CannedMessageDeleted()
            | e.VisitorReturned()
            | e.VisitorUpdated()
            | e.RouterTick()
        ):
            return ()
        case _:
            assert_never(event)


def _drained(ws: Workspace) -> tuple[Emission, ...]:
    """Those who wait first, then the chats that somebody has."""
    return placement.drain(ws) or transfers.drain(ws) or participation.drain(ws) or monitoring.drain(ws)


# ---------------------------------------------------------------- chats


def _requested(ws: Workspace, event: e.ChatRequested) -> tuple[Emission, ...]:
    """Refusals only: an accepted chat is placed by the drain."""
    if ws.accepted == event.chat_id:
        return ()
    if event.chat_id in ws.chats:
        return (refuse(ws, "chat_already_exists", "the chat id is in use", subject=event.chat_id),)
    barred = bar(ws, event.visitor.ip, event.channel)
    assert barred is not None, "every other request is accepted"
    return (refuse(ws, *barred, subject=event.chat_id),)


def _message(ws: Workspace, event: e.ChatMessage) -> tuple[Emission, ...]:
    chat = ws.chats.get(event.chat_id)
    if chat is None:
        return ()
    sender = event.sender
    if sender.kind == "agent":
        agent = ws.agent(sender.id)
        if agent is None:
            return (refuse(ws, "unknown_agent", "the agent is not known", subject=event.chat_id),)
        if not chat.live:
            return (refuse(ws, "chat_not_live", "the chat has ended", subject=event.chat_id),)
        if speaks(chat, agent.id) or (event.internal and monitoring.matched(chat, agent.id)):
            return ()
        if monitoring.matched(chat, agent.id):  # a refusal that named the chat would betray the watch
            return (refuse(ws, "not_permitted", "the agent may not write to the visitor"),)
        return (refuse(ws, "not_owner", "the agent does not own the chat", subject=event.chat_id),)
    if sender.kind == "visitor" and not event.internal and not chat.live and chat.inbox in inbox.IN_WORK:
        return inbox.visitor_wrote(ws, chat)
    return ()


class _Asked(NamedTuple):
    """An answer's chat, the agent who gave it, and the open offer it is to."""

    chat: Chat
    agent: Agent
    offer: Offer


def _accepted(ws: Workspace, event: e.OfferAccepted) -> tuple[Emission, ...]:
    asked = _asked(ws, event)
    if isinstance(asked, d.RequestRefused):
        return (asked,)
    chat, agent, offer = asked
    if offer.kind == "transfer":
        return transfers.accepted(ws, chat, agent)
    if offer.kind == "invite":
        return participation.accepted(chat, agent)
    if offer.ring_all and agent.room < chat.cost:
        return (refuse(ws, "agent_unavailable", "the agent has no room", subject=offer.id),)
    others = tuple(agent_id for agent_id in offer.agent_ids if agent_id != agent.id)
    assigned = d.ChatAssigned(
        chat_id=chat.id,
        agent_id=agent.id,
        department_id=chat.department_id,
        by="accept",
        waited_ms=ws.now_ms - chat.entered_ms,
        generation=chat.generation + 1,
        why=d.Why(rule="accepted", notes=chat.entry_notes),
    )
    if not others:
        return (assigned,)
    return (
        d.OfferWithdrawn(chat_id=chat.id, offer_id=offer.id, agent_ids=others, reason="accepted_elsewhere"),
        assigned,
    )


def _declined(ws: Workspace, event: e.OfferDeclined) -> tuple[Emission, ...]:
    asked = _asked(ws, event)
    if isinstance(asked, d.RequestRefused):
        return (asked,)
    chat, agent, offer = asked
    return (d.OfferWithdrawn(chat_id=chat.id, offer_id=offer.id, agent_ids=(agent.id,), reason="declined"),)


def _asked(ws: Workspace, event: e.OfferAccepted | e.OfferDeclined) -> _Asked | d.RequestRefused:
    """Whom an answer is from and what it is to, or why it comes to nothing."""
    agent = ws.agent(event.agent_id)
    if agent is None:
        return refuse(ws, "unknown_agent", "the agent is not known", subject=event.offer_id)
    chat = ws.chats.get(event.chat_id)
    if chat is None:
        return refuse(ws, "unknown_chat", "the chat is not known", subject=event.offer_id)
    for offer in chat.offers:
        if offer.id == event.offer_id and agent.id in offer.agent_ids:
            return _Asked(chat, agent, offer)
    return refuse(ws, "offer_not_open", "the offer is not open to this agent", subject=event.offer_id)


def _bot_transfer(ws: Workspace, event: e.BotTransferRequested) -> tuple[Emission, ...]:
    chat = ws.chats.get(event.chat_id)
    if chat is None:
        return (refuse(ws, "unknown_chat", "the chat is not known", subject=event.chat_id),)
    if not chat.live:
        return (refuse(ws, "chat_not_live", "the chat has ended", subject=event.chat_id),)
    if ws.accepted == chat.id:
        return ()
    if chat.bot_id != event.bot_id:
        return (refuse(ws, "not_permitted", "another bot, or none, serves the chat", subject=event.chat_id),)
    if chat.phase != "bot":
        return (refuse(ws, "limit_exceeded", "the chat is with people already", subject=event.chat_id),)
    return (
        *endings.close_missed(ws, chat, "bot"),
        d.ChatReopened(chat_id=chat.id, revision=chat.revision + 1),
    )


def _end_requested(ws: Workspace, event: e.ChatEndRequested) -> tuple[Emission, ...]:
    chat = ws.chats.get(event.chat_id)
    if chat is None:
        return (refuse(ws, "unknown_chat", "the chat is not known", subject=event.chat_id),)
    if not chat.live:
        return (refuse(ws, "chat_not_live", "the chat has ended", subject=event.chat_id),)
    if not may_end(ws, chat, event.by):
        return (refuse(ws, "not_permitted", "who asks may not end the chat", subject=event.chat_id),)
    if event.after_s > 0:
        return ()
    return endings.end(ws, chat, End(by=event.by.kind, visitor=event.by.kind == "visitor"))
