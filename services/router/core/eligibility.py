"""Which agents may be asked for a chat: eligible (online, of the department, with the skills), and candidates (with room too).

The one rule: `eligible` is about who could, `obstacle` about who can now.
"""

from services.router.core.membership import tier_of
from services.router.core.state import Agent, Chat, Department, Workspace


def obstacle(department: Department, chat: Chat, agent: Agent) -> str | None:
    """Why an online agent of the department is no candidate for a chat; None if they are one."""
    if agent.room < chat.cost:
        return "full"
    if f"cooldown/{agent.id}" in chat.timers:
        return "declined"
    if not chat.relaxed and not has_skills(chat, agent):
        return "lacks_skill"
    routing = department.settings.routing
    if routing.strategy == "tiers" and routing.tiers and tier_of(department, agent.id) >= chat.tiers_open:
        return "tier_closed"
    return None


def has_skills(chat: Chat, agent: Agent) -> bool:
    """Whether an agent has every skill the chat wants; languages they speak count as skills."""
    return all(
        agent.settings.skills.get(skill, 0) > 0 or skill in agent.settings.languages
        for skill in chat.wanted_skills
    )


def eligible_ids(ws: Workspace, chat: Chat, *, limit: int) -> list[str]:
    """Online agents of the chat's department with the skills, or past their relaxation; with or without room; at most `limit`."""
    found: list[str] = []
    for agent_id in ws.indexes[chat.department_id].online:
        if chat.relaxed or has_skills(chat, ws.agents[agent_id]):
            found.append(agent_id)
            if len(found) == limit:
                break
    return found
