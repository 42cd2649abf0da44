"""Taking part in a chat without owning it: invitations, joining and leaving (the contract, Who may).

The one rule: a participant speaks to the visitor, a monitor is heard by agents alone. Whoever becomes the owner is neither any more.
"""

from schemas import decisions as d
from schemas.events import ChatInviteRequested, ChatJoinRequested, ParticipantLeaveRequested
from services.router.core import monitoring
from services.router.core.asking import UNANSWERED_MAX_S
from services.router.core.offers import offer, withdraw
from services.router.core.permissions import steered
from services.router.core.refusals import refuse
from services.router.core.state import Agent, Chat, Emission, ParticipantRole, Workspace

INVITED_MAX = 20
"""So many agents may have been invited into a chat, one after the other: our own limit, more than ever speak at once."""


def invited(ws: Workspace, event: ChatInviteRequested) -> tuple[Emission, ...]:
    """Asks an agent to join. It takes no room, so whoever is online can be asked."""
    chat = steered(ws, event.chat_id, event.by_agent_id)
    if isinstance(chat, d.RequestRefused):
        return (chat,)
    agent = ws.agent(event.agent_id)
    if agent is None:
        return (refuse(ws, "unknown_agent", "the agent to invite is not known", subject=chat.id),)
    if chat.invite is not None or len(chat.invited_ids) >= INVITED_MAX:
        return (refuse(ws, "limit_exceeded", "others are invited into the chat already", subject=chat.id),)
    takes_part = agent.id == chat.owner_id or chat.participant_ids.get(agent.id) == "participant"
    if takes_part or agent.status != "online":
        return (refuse(ws, "agent_unavailable", "the agent can't be asked now", subject=chat.id),)
    rings_s = ws.departments[chat.department_id].settings.routing.offer_timeout_s or UNANSWERED_MAX_S
    why = d.Why(rule="invited")
    return (offer(ws, chat, [agent], kind="invite", rings_s=rings_s, why=why, message=event.message),)


def accepted(chat: Chat, agent: Agent) -> tuple[Emission, ...]:
    """The invited agent joins."""
    return (d.ParticipantJoined(chat_id=chat.id, agent_id=agent.id, role="participant"),)


def join_requested(ws: Workspace, event: ChatJoinRequested) -> tuple[Emission, ...]:
    """Who was invited joins, as often as they like; who watches the chat joins as a monitor. To join twice comes to nothing."""
    found = _known(ws, event)
    if isinstance(found, d.RequestRefused):
        return (found,)
    role = _role(found, event.agent_id)
    if role is None:
        return (refuse(ws, "not_permitted", "the agent was not invited", subject=event.chat_id),)
    if found.participant_ids.get(event.agent_id) == role:
        return ()
    return (d.ParticipantJoined(chat_id=found.id, agent_id=event.agent_id, role=role),)


def leave_requested(ws: Workspace, event: ParticipantLeaveRequested) -> tuple[Emission, ...]:
    """A participant leaves; the owner can't: they transfer or end the chat."""
    found = _known(ws, event)
    if isinstance(found, d.RequestRefused):
        return (found,)
    if event.agent_id not in found.participant_ids:
        return (refuse(ws, "not_permitted", "the agent has not joined the chat", subject=event.chat_id),)
    return (_left(found, event.agent_id),)


def leave_all(ws: Workspace, agent_id: str) -> tuple[Emission, ...]:
    """A removed agent leaves every chat they had joined."""
    chats = sorted(
        (ws.chats[chat_id] for chat_id in ws.joined.get(agent_id, ())), key=lambda chat: chat.sequence
    )
    return tuple([_left(chat, agent_id) for chat in chats])


def drain(ws: Workspace) -> tuple[Emission, ...]:
    """A participant who came to own the chat has left its participants, and needs no invitation."""
    for chat_id in ws.unsettled:
        chat = ws.chats[chat_id]
        if chat.invite is not None and chat.owner_id in chat.invite.agent_ids:
            return (withdraw(chat, chat.invite, "accepted_elsewhere"),)
        if chat.owner_id is not None and chat.owner_id in chat.participant_ids:
            return (_left(chat, chat.owner_id),)
    return ()


def _known(ws: Workspace, event: ChatJoinRequested | ParticipantLeaveRequested) -> Chat | d.RequestRefused:
    """The live chat that an agent wants to join or to leave, or why there is none."""
    if ws.agent(event.agent_id) is None:
        return refuse(ws, "unknown_agent", "the agent is not known", subject=event.chat_id)
    chat = ws.chats.get(event.chat_id)
    if chat is None:
        return refuse(ws, "unknown_chat", "the chat is not known", subject=event.chat_id)
    return chat if chat.live else refuse(ws, "chat_not_live", "the chat has ended", subject=chat.id)


def _role(chat: Chat, agent_id: str) -> ParticipantRole | None:
    """As what an agent may join; None if they may not."""
    if agent_id == chat.owner_id:
        return None
    invited_now = chat.invite is not None and agent_id in chat.invite.agent_ids
    if invited_now or agent_id in chat.invited_ids:
        return "participant"
    return "monitor" if monitoring.matched(chat, agent_id) else None


def _left(chat: Chat, agent_id: str) -> d.ParticipantLeft:
    return d.ParticipantLeft(chat_id=chat.id, agent_id=agent_id, role=chat.participant_ids[agent_id])
