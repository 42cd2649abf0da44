"""How a chat enters and leaves a queue and an owner's hands: the movements that several facts share.

The one rule: these functions are called by `evolve` only; they write state and decide nothing.
"""

from itertools import islice

from schemas.decisions import AvailableAgent
from services.router.core import membership
from services.router.core.departments import Entry, cost
from services.router.core.eligibility import (
    age_s,
    demand,
    expected_skills,
    is_able,
    is_relaxed,
    last_tier,
    open_tiers,
    sought_s,
)
from services.router.core.state import Chat, Department, Phase, Workspace

AVAILABLE_SHOWN_MAX = 20
DEPARTURES_KEPT = 20
_WAITING_TIMERS = ("wait", "relax", "tier", "sticky")


def available(ws: Workspace, department_id: str) -> tuple[AvailableAgent, ...]:
    """The agents of a department who have room now: the first 20 by id."""
    first = islice(ws.indexes[department_id].with_room, AVAILABLE_SHOWN_MAX)
    return tuple([ws.cards.get(agent_id) or _card(ws, agent_id) for agent_id in first])


def _card(ws: Workspace, agent_id: str) -> AvailableAgent:
    """Made when it is looked at, and kept until the agent changes."""
    agent = ws.agents[agent_id]
    card = AvailableAgent(agent_id, agent.settings.name, agent.load, agent.settings.max_chats)
    ws.cards[agent_id] = card
    return card


def owned_chats(ws: Workspace, agent_id: str) -> list[Chat]:
    """The chats an agent owns, oldest first."""
    return sorted(
        (ws.chats[chat_id] for chat_id in ws.owned.get(agent_id, ())), key=lambda chat: chat.sequence
    )


def ringing_chats(ws: Workspace, agent_id: str) -> list[Chat]:
    """The chats that are being offered to an agent, oldest first."""
    return sorted(
        (ws.chats[chat_id] for chat_id in ws.ringing.get(agent_id, ())), key=lambda chat: chat.sequence
    )


def enter(ws: Workspace, chat: Chat, entry: Entry) -> None:
    """Puts a chat into a queue; the waiting limit runs anew. What is turned away is missed by the drain."""
    membership.lift_chat(ws, chat)
    department = ws.departments[entry.department_id]
    chat.phase = "waiting"
    chat.department_id = entry.department_id
    chat.turned_away = None if chat.agent_replied else entry.turned_away
    chat.entry_notes = entry.notes
    chat.entered_ms = ws.now_ms
    _weigh(ws, chat, department)
    _expect_skills(ws, chat, department)
    _open_tiers(ws, chat, department)
    _expect_last_agent(ws, chat, department)
    restart_waiting(ws, chat)
    membership.place_chat(ws, chat)
    if chat.turned_away is not None:
        ws.turned_away[chat.id] = None
    ws.unannounced[chat.id] = None


def restart_waiting(ws: Workspace, chat: Chat) -> None:
    """Starts the waiting limit anew; it runs only while no agent has replied."""
    if chat.agent_replied:
        ws.disarm(chat, "wait")
    else:
        ws.arm(chat, "wait", ws.departments[chat.department_id].settings.routing.wait_timeout_s)


def restart_idle(ws: Workspace, chat: Chat) -> None:
    """Starts the limit anew after which a chat that a bot serves alone ends for want of messages."""
    ws.arm(chat, "idle", ws.departments[chat.department_id].settings.routing.idle_close_s)


def _weigh(ws: Workspace, chat: Chat, department: Department) -> None:
    """Fixes what the chat costs; who is still asked for it, as its department closes, carries the new cost until they are not."""
    before, chat.cost = chat.cost, cost(department, chat.channel)
    for offer in chat.offers:
        for agent_id in offer.agent_ids if offer.takes_room else ():
            agent = ws.agents[agent_id]
            agent.load += chat.cost - before
            membership.place_agent(ws, agent, roomier=chat.cost < before)


def _expect_skills(ws: Workspace, chat: Chat, department: Department) -> None:
    """The skills a candidate must have until they are relaxed: those asked for, and the visitor's language where one speaks it."""
    routing, passed_s = department.settings.routing, sought_s(chat, ws.clock_ms)
    chat.wanted_skills = expected_skills(chat, ws.indexes[department.id].languages)
    chat.relaxed = not chat.wanted_skills or is_relaxed(routing, passed_s)
    ws.arm(chat, "relax", 0 if chat.relaxed else routing.skills_relax_s - passed_s)


def _open_tiers(ws: Workspace, chat: Chat, department: Department) -> None:
    """Opens the tiers that the chat is old enough for, and waits for the next."""
    routing = department.settings.routing
    passed_s = age_s(chat, ws.clock_ms)
    chat.tiers_open = open_tiers(routing, passed_s)
    later = [tier.after_s - passed_s for tier in routing.tiers if tier.after_s > passed_s]
    if later and routing.strategy == "tiers":
        ws.arm(chat, "tier", min(later))
    else:
        ws.disarm(chat, "tier")


def _expect_last_agent(ws: Workspace, chat: Chat, department: Department) -> None:
    """Where the department is sticky, the agent whom the visitor had here last is waited for, if they are online and able.

    Who has no time to wait for gets the chat only if they can take it at once: the timer is the shortest there is.
    """
    routing, index = department.settings.routing, ws.indexes[department.id]
    chat.sticky_id = None
    ws.disarm(chat, "sticky")
    if routing.sticky != "last_agent":
        return
    agent_id = ws.last_agents.of(department.id, chat.visitor.visitor_id, now_ms=ws.now_ms)
    agent = ws.agent(agent_id)
    if agent is None or index.categories.get(agent.id) not in ("full", "room"):
        return
    if not is_able(demand(routing, chat), agent, index.tiers.get(agent.id, last_tier(routing))):
        return
    if agent.id in chat.asked or (not routing.sticky_wait_s and agent.room < chat.cost):
        return
    chat.sticky_id = agent.id
    ws.arm(chat, "sticky", routing.sticky_wait_s or 0.001)


def reopen_tiers(ws: Workspace, chat: Chat) -> None:
    """A tier's time has come, or the tiers have changed: whoever they name may be asked now."""
    membership.unqueue(ws, chat)
    _open_tiers(ws, chat, ws.departments[chat.department_id])
    membership.queue(ws, chat)
    ws.touch(chat)


def relax(ws: Workspace, chat: Chat) -> None:
    """Nobody with the skills has come: any agent of the department may be asked now."""
    membership.unqueue(ws, chat)
    chat.relaxed = True
    membership.queue(ws, chat)
    ws.touch(chat)


def depart(ws: Workspace, chat: Chat, phase: Phase) -> None:
    """Takes a chat out of its queue into another phase."""
    waited = membership.waits(chat)
    membership.lift_chat(ws, chat)
    chat.phase = phase
    chat.turned_away = chat.sticky_id = None
    for key in [key for key in chat.timers if key in _WAITING_TIMERS or key.startswith("cooldown/")]:
        ws.disarm(chat, key)
    for step in (ws.open_chats, ws.doubtful, ws.turned_away, ws.unannounced):
        step.pop(chat.id, None)
    if waited:
        rota = ws.rotas[chat.department_id]
        rota.departures_ms.append(ws.now_ms)
        del rota.departures_ms[:-DEPARTURES_KEPT]
        ws.touch(rota)
    ws.touch(chat)


def release(ws: Workspace, chat: Chat, *, ended: bool) -> None:
    """Takes a chat from its owner. Where it has ended and was answered, the slot stays taken for the department's wrap-up time."""
    owner_id = chat.owner_id
    if owner_id is None:
        return
    agent = ws.agents[owner_id]
    ws.owned[owner_id].pop(chat.id)
    for key in ("reply", "grace"):
        ws.disarm(chat, key)
    chat.owner_id = None
    chat.owner_wrote = False
    routing = ws.departments[chat.department_id].settings.routing
    seconds = routing.wrap_up_s if ended and chat.agent_replied else 0
    if seconds > 0 and not agent.removed:
        agent.wrap_ups[chat.id] = agent.wrap_ups.get(chat.id, 0) + chat.cost
        ws.arm(agent, f"wrap_up/{chat.id}", seconds)
    else:
        agent.load -= chat.cost
    if ended:
        agent.idle_since_ms = ws.now_ms
    membership.place_agent(ws, agent, roomier=True)


def end_wrap_up(ws: Workspace, agent_id: str, chat_id: str) -> None:
    """Gives an agent the slot back that a finished chat still held."""
    agent = ws.agents[agent_id]
    agent.load -= agent.wrap_ups.pop(chat_id, 0)
    membership.place_agent(ws, agent, roomier=True)
