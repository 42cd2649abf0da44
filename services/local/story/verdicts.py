"""How an agent stands to a chat at a moment: asked, able, or why not.

The one rule: it asks the core's own functions, so it can't say otherwise than the router decides; a state is only read.
"""

from dataclasses import dataclass, field
from typing import Literal

from schemas.events import ChatTransferRequested
from services.router.core import transfers
from services.router.core.eligibility import (
    demand,
    demand_at,
    expected_skills,
    has_skills,
    last_tier,
    obstacle,
    standing,
    tiers_of,
)
from services.router.core.index import Rank
from services.router.core.membership import pool
from services.router.core.placement import candidates
from services.router.core.state import Agent, Chat, Department, Transfer, Workspace

Reason = Literal[
    "unknown",
    "removed",
    "chosen",
    "owner",
    "owned",
    "turned_away",
    "bot",
    "ringing",
    "others_ringing",
    "named",
    "not_member",
    "offline",
    "away",
    "full",
    "lacks_skill",
    "declined",
    "declined_transfer",
    "tier_closed",
    "sticky_wait",
    "asked",
    "again",
    "ranked",
    "tied",
    "turn",
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A reason, with the values that it is said with; spans are in ms."""

    reason: Reason
    values: dict[str, object] = field(default_factory=dict)


def judge(ws: Workspace, chat_id: str, agent_id: str, *, chosen: tuple[str, ...] = ()) -> Verdict:
    """How an agent stands to a chat now; `chosen`: who is asked for it or gets it next, so far nobody knows of it."""
    agent, chat = ws.agents.get(agent_id), ws.chats[chat_id]
    if agent is None:
        return Verdict("unknown")
    if agent_id in chosen:
        return Verdict("chosen")
    if agent.removed:
        return Verdict("removed")
    elsewhere = _elsewhere(chat, agent_id, waits=bool(chosen))
    if elsewhere is not None:
        return elsewhere
    department = ws.departments[chat.department_id]
    absent = _absent(ws, department, agent)
    if absent is not None:
        return absent
    reason = obstacle(department, chat, agent)
    if reason is not None:
        return _obstructed(ws, department, chat, agent, reason)
    waiting = pool(ws, department, demand(department.settings.routing, chat))
    order = [(one.rank, one.asked) for one in candidates(ws, department, waiting, chat)]
    return _placed(department, order, agent_id, answer=chat.asked.get(agent_id))


def judge_transfer(ws: Workspace, chat_id: str, agent_id: str, *, chosen: tuple[str, ...]) -> Verdict:
    """How an agent stands to a chat that is about to be transferred; `chosen`: who is asked to take it over."""
    agent, chat, request = ws.agents.get(agent_id), ws.chats[chat_id], ws.event
    if agent is None or agent.removed or agent_id in chosen:
        return judge(ws, chat_id, agent_id, chosen=chosen)
    transfer = chat.transfer
    if transfer is None:
        assert isinstance(request, ChatTransferRequested), "a transfer begins with its request"
        transfer = Transfer(ws.now_ms, request.to_agent_id, request.to_department_id)
    if transfer.to_department_id is None:
        return Verdict("named", {"agent_ids": chosen})
    if agent_id == chat.owner_id:
        return Verdict("owner")
    department = ws.departments[transfer.to_department_id]
    absent = _absent(ws, department, agent)
    if absent is not None:
        return absent
    routing, index = department.settings.routing, ws.indexes[department.id]
    wanted = demand_at(routing, chat, index.languages, ws.clock_ms)
    stands = standing(wanted, agent, tiers_of(routing).get(agent_id, last_tier(routing)))
    if stands != "candidate":
        return _obstructed(ws, department, chat, agent, stands)
    if transfer.asked.get(agent_id) == "declined":
        return Verdict("declined_transfer")
    able = transfers.candidates(ws, chat, department, pool(ws, department, wanted), transfer.asked)
    order = [(rank, rank[-1] in transfer.asked) for rank in able]
    return _placed(department, order, agent_id, answer=transfer.asked.get(agent_id))


def _absent(ws: Workspace, department: Department, agent: Agent) -> Verdict | None:
    if department.id not in ws.departments_of.get(agent.id, ()):
        return Verdict("not_member", {"department_id": department.id})
    return None if agent.status == "online" else Verdict(agent.status)


def _elsewhere(chat: Chat, agent_id: str, *, waits: bool) -> Verdict | None:
    """What stands before any choice: an owner, a bot, a closed door, a ring under way."""
    if chat.owner_id is not None:
        return Verdict("owner" if chat.owner_id == agent_id else "owned", {"agent_ids": (chat.owner_id,)})
    if chat.turned_away is not None:
        return Verdict("turned_away", {"detail": chat.turned_away})
    if chat.phase == "bot":
        return Verdict("bot")
    if chat.offer is not None and agent_id in chat.offer.agent_ids:
        return Verdict("ringing")
    if chat.offer is not None and not waits:
        return Verdict("others_ringing", {"agent_ids": tuple(chat.offer.agent_ids)})
    return None


def _obstructed(ws: Workspace, department: Department, chat: Chat, agent: Agent, reason: str) -> Verdict:
    """What keeps an agent who is there from being a candidate, with the values that it is said with."""
    routing = department.settings.routing
    match reason:
        case "full":
            capacity = agent.settings.max_chats
            return Verdict("full", {"load": agent.load, "capacity": capacity, "cost": chat.cost})
        case "lacks_skill":
            wanted = expected_skills(chat, ws.indexes[department.id].languages)
            lacking = tuple([skill for skill in wanted if not has_skills((skill,), agent)])
            return Verdict("lacks_skill", {"skills": lacking, "left_ms": _left_ms(ws, chat, "relax")})
        case "declined":
            left_ms = _left_ms(ws, chat, f"cooldown/{agent.id}") or 0
            ago_ms = round(routing.decline_cooldown_s * 1000) - left_ms
            return Verdict("declined", {"ago_ms": ago_ms, "left_ms": left_ms})
        case "tier_closed":
            number = tiers_of(routing).get(agent.id, last_tier(routing))
            opens_ms = round(routing.tiers[number].after_s * 1000)
            age_ms = ws.clock_ms - chat.born_clock_ms
            return Verdict("tier_closed", {"tier": number + 1, "opens_ms": opens_ms, "age_ms": age_ms})
        case "sticky_wait":
            kept_for = (chat.sticky_id,)
            return Verdict("sticky_wait", {"agent_ids": kept_for, "left_ms": _left_ms(ws, chat, "sticky")})
        case _:
            raise AssertionError(f"{reason} is no reason of the core's")


def _left_ms(ws: Workspace, chat: Chat, timer: str) -> int | None:
    """How long a timer still runs; None where it does not."""
    armed = chat.timers.get(timer)
    return None if armed is None else armed[0] - ws.clock_ms


def _placed(
    department: Department, order: list[tuple[Rank, bool]], agent_id: str, *, answer: str | None
) -> Verdict:
    """Where an agent who could take the chat stood in the order, and who stood first; `order`: ranks, and who was asked before."""
    number = next(place for place, (rank, _) in enumerate(order, start=1) if rank[-1] == agent_id)
    (mine, asked), (first, first_asked) = order[number - 1], order[0]
    strategy = department.settings.routing.strategy
    values: dict[str, object] = {"number": number, "count": len(order), "agent_ids": (first[-1],)}
    if asked:
        return Verdict("again", values) if first_asked else Verdict("asked", {"answer": answer})
    if strategy == "round_robin":
        return Verdict("turn", values)
    tied = mine[:-1] == first[:-1]
    return Verdict(
        "tied" if tied else "ranked", {**values, "strategy": strategy, "mine": mine, "first": first}
    )
