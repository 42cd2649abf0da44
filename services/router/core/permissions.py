"""Who may do what (the contract, Who may). Everything not listed is refused.

The one rule: a permission is a question about the state as it is; asking changes nothing.
"""

from schemas.decisions import RequestRefused
from schemas.events import By
from schemas.types import Channel, RefusalCode, Role
from services.router.core.blocking import is_blocked
from services.router.core.refusals import refuse
from services.router.core.state import Agent, Chat, Workspace

MAY_WATCH: dict[Role, tuple[Role, ...]] = {
    "admin": ("supervisor", "agent"),
    "supervisor": ("agent",),
    "agent": (),
}
"""Whose chats a monitor's owner may watch, by roles. No role watches itself, so nobody watches themselves."""


def bar(ws: Workspace, ip: str | None, channel: Channel) -> tuple[RefusalCode, str] | None:
    """Why a visitor may not begin a chat, or open a missed one again; None if they may. A live one goes on."""
    if is_blocked(ws, ip):
        return "visitor_blocked", "the visitor's address is blocked"
    if channel not in ws.profile.settings.channels:
        return "channel_disabled", f"channel {channel} is off"
    return None


def may_watch(owner: Agent, watched: Agent) -> bool:
    """Whether a monitor of one agent may match another's chats."""
    return watched.settings.role in MAY_WATCH[owner.settings.role]


def speaks(chat: Chat, agent_id: str) -> bool:
    """Whether an agent's messages go to the visitor, and are replies: the owner's and the joined agents', never a monitor's."""
    return agent_id == chat.owner_id or chat.participant_ids.get(agent_id) == "participant"


def may_steer(ws: Workspace, chat: Chat, agent_id: str | None) -> bool:
    """Whether an agent may transfer, invite into or end a chat: its owner, who joined it, supervisors, admins."""
    agent = ws.agent(agent_id)
    if agent is None:
        return False
    return (
        agent.id == chat.owner_id
        or agent.id in chat.participant_ids
        or agent.settings.role in ("supervisor", "admin")
    )


def steered(ws: Workspace, chat_id: str, agent_id: str) -> Chat | RequestRefused:
    """The live chat that an agent may steer, or why there is none."""
    if ws.agent(agent_id) is None:
        return refuse(ws, "unknown_agent", "the agent is not known", subject=chat_id)
    chat = ws.chats.get(chat_id)
    if chat is None:
        return refuse(ws, "unknown_chat", "the chat is not known", subject=chat_id)
    if not chat.live:
        return refuse(ws, "chat_not_live", "the chat has ended", subject=chat_id)
    if not may_steer(ws, chat, agent_id):
        return refuse(ws, "not_permitted", "who asks has no part in the chat", subject=chat_id)
    return chat


def may_end(ws: Workspace, chat: Chat, by: By) -> bool:
    """Whether somebody may end a chat: those who may steer it, the visitor, the bot that serves it."""
    match by.kind:
        case "visitor":
            return by.id is None or by.id == chat.visitor.visitor_id
        case "bot":
            return chat.bot_id is not None and by.id in (None, chat.bot_id)
        case "agent":
            return may_steer(ws, chat, by.id)
        case _:
            return False


def may_work_on(ws: Workspace, chat: Chat, agent: Agent) -> bool:
    """Whether an agent may tag and annotate a chat and keep it in the missed inbox: those of its department, supervisors, admins.

    So may the agent it was given to, by a transfer or out of the inbox: they would have nothing of it otherwise.
    """
    return (
        agent.settings.role in ("supervisor", "admin")
        or agent.id in (chat.last_owner_id, chat.inbox_agent_id)
        or chat.department_id in ws.departments_of.get(agent.id, ())
    )


def refuse_work(ws: Workspace, chat_id: str, agent_id: str) -> RequestRefused | None:
    """Why an agent can't work on a chat; None if they may."""
    agent = ws.agent(agent_id)
    if agent is None:
        return refuse(ws, "unknown_agent", "the agent is not known", subject=chat_id)
    chat = ws.chats.get(chat_id)
    if chat is None:
        return refuse(ws, "unknown_chat", "the chat is not known", subject=chat_id)
    if not may_work_on(ws, chat, agent):
        return refuse(ws, "not_permitted", "the chat belongs to another department", subject=chat_id)
    return None
