"""Who may do what (the contract, Who may). Everything not listed is refused.

The one rule: a permission is a question about the state as it is; asking changes nothing.
"""

from schemas.events import By
from services.router.core.state import Chat, Workspace


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
