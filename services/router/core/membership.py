"""Keeps the indexes: which agent stands where in which department, which chat waits where.

The one rule: whoever changes an agent or a chat calls `place_agent` or `place_chat` afterwards, and what became possible by
the change is noted there for the drain.
"""

from bisect import insort

from schemas.decisions import AvailableAgent
from services.router.core import blocking, mail
from services.router.core.index import Category, DepartmentIndex, Place, Rank, take_out
from services.router.core.state import Agent, Chat, Department, Workspace


def category(agent: Agent) -> Category:
    """Where an agent stands: offline, away, online without room, or with room."""
    if agent.status != "online":
        return agent.status
    return "room" if agent.room > 0 else "full"


def rank(department: Department, agent: Agent) -> Rank:
    """What the department's strategy orders candidates by; lower goes first."""
    routing = department.settings.routing
    match routing.strategy:
        case "least_loaded":
            return (agent.load, agent.last_assigned_ms, agent.id)
        case "longest_idle":
            return (agent.idle_since_ms, agent.id)
        case "round_robin":
            return (agent.id,)
        case _:
            return (tier_of(department, agent.id), agent.load, agent.last_assigned_ms, agent.id)


def tier_of(department: Department, agent_id: str) -> int:
    """The first tier that names the agent; those in none open with the last."""
    tiers = department.settings.routing.tiers
    for number, tier in enumerate(tiers):
        if agent_id in tier.agent_ids:
            return number
    return max(len(tiers) - 1, 0)


def place_agent(ws: Workspace, agent: Agent, *, roomier: bool = False) -> None:
    """Moves an agent to where they belong in each of their departments; `roomier`: they can take more than before."""
    if agent.removed:
        ws.touch(agent)
        return
    now = category(agent)
    settings = agent.settings
    ws.cards[agent.id] = AvailableAgent(agent.id, settings.name, agent.load, settings.max_chats)
    for department_id in ws.departments_of.get(agent.id, ()):
        ws.indexes[department_id].put(agent.id, now, rank(ws.departments[department_id], agent))
    if now in ("offline", "away"):
        recheck_transfers(ws, agent)
    if now != "room":
        ws.open_agents.pop(agent.id, None)
    elif roomier:
        ws.open_agents[agent.id] = None
    ws.touch(agent)


def recheck_transfers(ws: Workspace, agent: Agent) -> None:
    """With an agent gone, a bot's transfer that waits for their departments may have nobody left."""
    for department_id in ws.departments_of.get(agent.id, ()):
        for waiting in ws.indexes[department_id].transfers:
            ws.open_chats[waiting.chat_id] = None


def join_departments(ws: Workspace, agent: Agent) -> None:
    """Enters a configured agent into the indexes of the departments that name them."""
    for department_id in ws.departments_of.get(agent.id, ()):
        ws.indexes[department_id].speak(agent.settings.languages, 1)
    place_agent(ws, agent, roomier=True)


def leave_departments(ws: Workspace, agent: Agent) -> None:
    """Takes an agent out of all indexes, before their settings change or when they are removed."""
    for department_id in ws.departments_of.get(agent.id, ()):
        index = ws.indexes[department_id]
        index.drop(agent.id)
        index.speak(agent.settings.languages, -1)
    recheck_transfers(ws, agent)
    ws.open_agents.pop(agent.id, None)


def staff(ws: Workspace, department: Department, before: tuple[str, ...]) -> None:
    """Makes a department's index of agents anew after its settings changed; `before`: who was in it."""
    for agent_id in before:
        ws.departments_of[agent_id].remove(department.id)
    ws.mail_plans[department.id] = mail.resolve(ws, department)
    index = ws.indexes.setdefault(department.id, DepartmentIndex())
    for agent_id in before:
        index.drop(agent_id)
    index.languages.clear()
    members = () if department.removed else dict.fromkeys(department.settings.agent_ids)
    for agent_id in members:
        ws.departments_of.setdefault(agent_id, []).append(department.id)
        ws.departments_of[agent_id].sort()
        agent = ws.agent(agent_id)
        if agent is not None:
            index.speak(agent.settings.languages, 1)
            place_agent(ws, agent, roomier=True)


def place(chat: Chat) -> Place:
    """A chat's place among those who wait."""
    return Place(chat.age_ms, chat.sequence, chat.id)


def place_chat(ws: Workspace, chat: Chat) -> None:
    """Enters a waiting chat into its department's lists; `lift_chat` must have been called before it changed."""
    for entries in _lists(ws, chat):
        insort(entries, place(chat))
    ws.touch(chat)


def lift_chat(ws: Workspace, chat: Chat) -> None:
    """Takes a chat out of its department's lists before it changes."""
    for entries in _lists(ws, chat):
        take_out(entries, place(chat))


def _lists(ws: Workspace, chat: Chat) -> list[list[Place]]:
    """The lists of its department that a chat stands in."""
    if chat.phase != "waiting" or chat.turned_away is not None:
        return []
    index = ws.indexes[chat.department_id]
    lists = [index.waiting]
    if chat.offer is None:
        lists.append(index.queue)
    elif chat.offer.ring_all:
        lists.append(index.ringing)
    if chat.bot_transfer:
        lists.append(index.transfers)
    return lists


def rebuild(ws: Workspace) -> None:
    """Makes every index from the stored entities, after a restore."""
    blocking.rebuild(ws)
    for department in ws.departments.values():
        staff(ws, department, before=())
    for chat in sorted(ws.chats.values(), key=lambda chat: chat.sequence):
        place_chat(ws, chat)
        ws.enter_timers(chat)
        if chat.owner_id is not None:
            ws.owned.setdefault(chat.owner_id, {})[chat.id] = None
        for agent_id in chat.offer.agent_ids if chat.offer else ():
            ws.ringing.setdefault(agent_id, {})[chat.id] = None
    for agent in ws.agents.values():
        ws.enter_timers(agent)
    ws.changed.clear()
    ws.open_agents.clear()
