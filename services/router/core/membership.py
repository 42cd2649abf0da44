"""Keeps the indexes: which agent stands where in which department, which chat waits where.

The one rule: whoever changes an agent calls `place_agent` afterwards; whoever changes what a chat waits for calls `unqueue` before
and `queue` after. What became possible by the change is noted there for the drain.
"""

from bisect import insort
from heapq import heappush

from services.router.core import blocking, mail, monitoring
from services.router.core.eligibility import demand, last_tier, standing, tiers_of
from services.router.core.index import Category, Demand, DepartmentIndex, Place, Pool, Rank, take_out
from services.router.core.state import Agent, Chat, Department, Workspace

RING_ALL_MAX = 50
"""A ring-all asks at most so many agents (the contract, Departments)."""

# ---------------------------------------------------------------- agents


def category(agent: Agent) -> Category:
    """Where an agent stands: offline, away, online without room, or with room."""
    if agent.status != "online":
        return agent.status
    return "room" if agent.room > 0 else "full"


def rank(department: Department, agent: Agent, tier: int) -> Rank:
    """What the department's strategy orders candidates by; lower goes first."""
    match department.settings.routing.strategy:
        case "least_loaded":
            return (agent.load, agent.last_assigned_ms, agent.id)
        case "longest_idle":
            return (agent.idle_since_ms, agent.id)
        case "round_robin":
            return (agent.id,)
        case "tiers":
            return (tier, agent.load, agent.last_assigned_ms, agent.id)


def pool(ws: Workspace, department: Department, wanted: Demand) -> Pool:
    """The agents of a department as they stand to a demand now."""
    index = ws.indexes[department.id]
    found = index.pool(wanted)
    if found.up_to != index.changes:
        last = last_tier(department.settings.routing)
        for agent_id in index.missed_by(found):
            if index.categories.get(agent_id) in ("full", "room"):
                agent, tier = ws.agents[agent_id], index.tiers.get(agent_id, last)
                found.put(agent_id, standing(wanted, agent, tier), rank(department, agent, tier))
            else:
                found.put(agent_id, None, ())
    return found


def place_agent(ws: Workspace, agent: Agent, *, roomier: bool = False) -> None:
    """Moves an agent to where they belong in each of their departments; `roomier`: they can take more than before."""
    ws.touch(agent)
    if agent.removed:
        return
    now = category(agent)
    ws.cards.pop(agent.id, None)
    departments = ws.departments_of.get(agent.id, ())
    for department_id in departments:
        ws.indexes[department_id].put(agent.id, now)
    if now != "room":
        ws.open_agents.pop(agent.id, None)
    elif roomier:
        ws.open_agents[agent.id] = None
        for department_id in departments:
            ws.indexes[department_id].times_roomier += 1
            ws.open_departments[department_id] = None


def recheck_transfers(ws: Workspace, agent: Agent) -> None:
    """With an agent gone, a bot's transfer that waits for their departments may have nobody left."""
    for department_id in ws.departments_of.get(agent.id, ()):
        for waiting in ws.indexes[department_id].transfers:
            ws.doubtful[waiting.chat_id] = None


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
    """Makes a department's index anew after its settings changed; `before`: who was in it."""
    for agent_id in before:
        ws.departments_of[agent_id].remove(department.id)
        if not ws.departments_of[agent_id]:
            del ws.departments_of[agent_id]
    ws.mail_plans[department.id] = mail.resolve(ws, department)
    old = ws.indexes.get(department.id)
    index = ws.indexes[department.id] = DepartmentIndex()
    index.tiers = tiers_of(department.settings.routing)
    members = () if department.removed else dict.fromkeys(department.settings.agent_ids)
    for agent_id in members:
        ws.departments_of.setdefault(agent_id, []).append(department.id)
        ws.departments_of[agent_id].sort()
        agent = ws.agent(agent_id)
        if agent is not None:
            index.speak(agent.settings.languages, 1)
            place_agent(ws, agent, roomier=True)
    for place in old.waiting if old else ():
        chat = ws.chats[place.chat_id]
        if index.categories.get(chat.sticky_id or "") not in ("full", "room"):
            chat.sticky_id = None
        place_chat(ws, chat)


# ---------------------------------------------------------------- chats


def place_of(chat: Chat) -> Place:
    """A chat's place among those who wait."""
    return Place(chat.age_ms, chat.sequence, chat.id)


def waits(chat: Chat) -> bool:
    """Whether a chat stands in a queue, rung or not."""
    return chat.phase == "waiting" and chat.turned_away is None


def place_chat(ws: Workspace, chat: Chat) -> None:
    """Enters a chat into its department's queue; one that does not wait stands nowhere."""
    ws.touch(chat)
    if waits(chat):
        index, place = ws.indexes[chat.department_id], place_of(chat)
        insort(index.waiting, place)
        if chat.bot_transfer:
            insort(index.transfers, place)
            ws.doubtful[chat.id] = None
        queue(ws, chat)


def lift_chat(ws: Workspace, chat: Chat) -> None:
    """Takes a chat out of its department's queue, before it leaves."""
    if waits(chat):
        index, place = ws.indexes[chat.department_id], place_of(chat)
        take_out(index.waiting, place)
        if chat.bot_transfer:
            take_out(index.transfers, place)
        unqueue(ws, chat)


def queue(ws: Workspace, chat: Chat) -> None:
    """Enters a waiting chat among those that can be given to somebody, by what it asks for."""
    line = _line(ws, chat)
    if line is not None:
        if isinstance(line, Pool):
            ws.indexes[chat.department_id].enter(line, place_of(chat))
        else:
            insort(line, place_of(chat))
        reconsider(ws, chat)


def reconsider(ws: Workspace, chat: Chat) -> None:
    """Has the drain look at a chat that waits: somebody may have become a candidate for it."""
    if chat.offer is None:
        heappush(ws.open_places, place_of(chat))
    elif chat.offer.ring_all:
        ws.open_chats[chat.id] = None


def unqueue(ws: Workspace, chat: Chat) -> None:
    """Takes a waiting chat out from among those, before what it asks for or its offer changes."""
    line = _line(ws, chat)
    if isinstance(line, Pool):
        ws.indexes[chat.department_id].leave(line, place_of(chat))
    elif line is not None:
        take_out(line, place_of(chat))
        ws.open_chats.pop(chat.id, None)
        if not line and chat.offer is None and chat.sticky_id is not None:
            ws.indexes[chat.department_id].kept.pop(chat.sticky_id, None)


def _line(ws: Workspace, chat: Chat) -> Pool | list[Place] | None:
    """The queue that a waiting chat stands in; None while its offer can't take anybody else, and for one that does not wait."""
    if not waits(chat):
        return None
    index = ws.indexes[chat.department_id]
    offer = chat.offer
    if offer is not None:
        return index.ringing if offer.ring_all and len(offer.agent_ids) < RING_ALL_MAX else None
    if chat.sticky_id is not None:
        return index.kept.setdefault(chat.sticky_id, [])
    return index.pool(demand(ws.departments[chat.department_id].settings.routing, chat))


def free(ws: Workspace, chat: Chat) -> None:
    """The chat no longer waits for the agent its visitor had last, but for anybody."""
    unqueue(ws, chat)
    chat.sticky_id = None
    ws.disarm(chat, "sticky")
    queue(ws, chat)
    ws.touch(chat)


def free_kept(ws: Workspace, agent: Agent) -> None:
    """Frees every chat that waits for an agent who has gone."""
    for department_id in ws.departments_of.get(agent.id, ()):
        for place in ws.indexes[department_id].kept.get(agent.id, ())[:]:
            free(ws, ws.chats[place.chat_id])


# ---------------------------------------------------------------- after a restore


def rebuild(ws: Workspace) -> None:
    """Makes every index from the stored entities, after a restore."""
    blocking.rebuild(ws)
    monitoring.rebuild(ws)
    ws.last_agents.rebuild()
    for department in ws.departments.values():
        staff(ws, department, before=())
    for chat in sorted(ws.chats.values(), key=lambda chat: chat.sequence):
        place_chat(ws, chat)
        ws.enter_timers(chat)
        if chat.owner_id is not None:
            ws.owned.setdefault(chat.owner_id, {})[chat.id] = None
        for offer in chat.offers:
            for agent_id in offer.agent_ids:
                ws.ringing.setdefault(agent_id, {})[chat.id] = None
        for agent_id in chat.participant_ids:
            ws.joined.setdefault(agent_id, {})[chat.id] = None
        if chat.transfer is not None:
            ws.transferring[chat.id] = None
    for agent in ws.agents.values():
        ws.enter_timers(agent)
    ws.changed.clear()
    ws.forget_step()
