"""The drain: who gets which waiting chat, as soon as room or candidates appear.

The one rule: a pair of a waiting chat and a candidate can only have appeared with the chats and agents that this step opened,
so nothing else is looked at (the contract, Offers: never by polling).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from schemas.decisions import ChatAssigned, ChatOffered, ChatQueued, Ranked, Why
from schemas.envelope import from_ms
from schemas.frozen import dataclass
from services.router.core import endings
from services.router.core.eligibility import obstacle
from services.router.core.entering import DEPARTURES_KEPT
from services.router.core.ids import mint
from services.router.core.index import Place, Rank
from services.router.core.membership import place
from services.router.core.state import Agent, Chat, Department, Emission, Rota, Workspace

RING_ALL_MAX = 50
WHY_NEXT_MAX = 4


def drain(ws: Workspace) -> tuple[Emission, ...]:
    """The next decision that became due in this step, or () when nothing is left to do."""
    if not (ws.open_chats or ws.open_agents or ws.unannounced):
        return ()
    return _turned_away(ws) or _next_chat(ws) or _newcomer(ws) or _announcement(ws)


def _turned_away(ws: Workspace) -> tuple[Emission, ...]:
    """Chats that can't wait where they came to, and bot transfers that can't succeed any more."""
    for chat_id in ws.open_chats:
        chat = ws.chats[chat_id]
        if chat.phase == "waiting" and chat.turned_away is not None:
            return endings.miss(ws, chat, detail=chat.turned_away)
        if _waits(chat) and chat.bot_transfer and not chat.agent_replied:
            failure = endings.hopeless(ws, chat)
            if failure is not None:
                return endings.miss(ws, chat, transfer=failure)
    return ()


# ---------------------------------------------------------------- who waits, and who can take it


def _next_chat(ws: Workspace) -> tuple[Emission, ...]:
    """The oldest waiting chat that somebody can take now, given to the best of them."""
    oldest: Place | None = None
    for candidate in chain(_opened_chats(ws), _chats_for_agents(ws)):
        if oldest is None or candidate < oldest:
            oldest = candidate
    return () if oldest is None else _give(ws, ws.chats[oldest.chat_id])


def _opened_chats(ws: Workspace) -> Iterator[Place]:
    for chat_id in ws.open_chats:
        chat = ws.chats[chat_id]
        if _waits(chat) and _has_candidate(ws, chat):
            yield place(chat)


def _has_candidate(ws: Workspace, chat: Chat) -> bool:
    department = ws.departments[chat.department_id]
    ranked = ws.indexes[department.id].ranked
    return any(obstacle(department, chat, ws.agents[str(rank[-1])]) is None for rank in ranked)


def _chats_for_agents(ws: Workspace) -> Iterator[Place]:
    """For each agent who has more room than before, the oldest chat over all their departments that they can take."""
    for agent_id in ws.open_agents:
        agent = ws.agents[agent_id]
        for department_id in ws.departments_of.get(agent_id, ()):
            department = ws.departments[department_id]
            for waiting in ws.indexes[department_id].queue:
                if obstacle(department, ws.chats[waiting.chat_id], agent) is None:
                    yield waiting
                    break


def _waits(chat: Chat) -> bool:
    return chat.phase == "waiting" and chat.offer is None and chat.turned_away is None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An agent who can take a chat now."""

    agent: Agent
    rank: Rank
    asked: bool


def _candidates(ws: Workspace, chat: Chat, skipped: dict[str, int]) -> Iterator[Candidate]:
    """The candidates for a chat in the strategy's order, those not yet asked first; counts the others in `skipped`."""
    department = ws.departments[chat.department_id]
    again: list[Candidate] = []
    for rank in _in_order(ws, department):
        agent = ws.agents[str(rank[-1])]
        reason = obstacle(department, chat, agent)
        if reason is not None:
            skipped[reason] = skipped.get(reason, 0) + 1
        elif agent.id in chat.asked:
            again.append(Candidate(agent, rank, asked=True))
        else:
            yield Candidate(agent, rank, asked=False)
    yield from again


def _in_order(ws: Workspace, department: Department) -> Iterable[Rank]:
    ranked = ws.indexes[department.id].ranked
    last_asked_id = ws.rotas[department.id].last_asked_id
    if department.settings.routing.strategy != "round_robin" or last_asked_id is None:
        return ranked
    start = bisect_right(ranked, (last_asked_id,))
    return chain(ranked[start:], ranked[:start])


# ---------------------------------------------------------------- giving


def _give(ws: Workspace, chat: Chat) -> tuple[Emission, ...]:
    department = ws.departments[chat.department_id]
    mode = department.settings.routing.mode
    asked_max = RING_ALL_MAX if mode == "ring_all" else 1
    skipped: dict[str, int] = {}
    chosen: list[Candidate] = []
    for candidate in _candidates(ws, chat, skipped):
        chosen.append(candidate)
        if len(chosen) == asked_max + WHY_NEXT_MAX:
            break
    ringing, following = chosen[:asked_max], chosen[asked_max:]
    why = _why(ws, department, chat, ringing[0], following, skipped)
    if mode == "auto":
        return (
            ChatAssigned(
                chat_id=chat.id,
                agent_id=ringing[0].agent.id,
                department_id=department.id,
                by="auto",
                waited_ms=ws.now_ms - chat.entered_ms,
                generation=chat.generation + 1,
                why=why,
            ),
        )
    offer_id = mint(ws.id, ws.cause, f"offer/{chat.id}/{chat.offers_made}")
    return (_offer(ws, chat, offer_id, [candidate.agent for candidate in ringing], why),)


def _offer(ws: Workspace, chat: Chat, offer_id: str, agents: list[Agent], why: Why) -> ChatOffered:
    timeout_ms = round(ws.departments[chat.department_id].settings.routing.offer_timeout_s * 1000)
    armed = chat.timers.get("offer")
    left_ms = timeout_ms if armed is None else max(0, armed[0] - ws.clock_ms)
    return ChatOffered(
        chat_id=chat.id,
        offer_id=offer_id,
        agent_ids=tuple(agent.id for agent in agents),
        kind="bot_transfer" if chat.bot_transfer else "new",
        why=why,
        expires_at=from_ms(ws.now_ms + left_ms) if timeout_ms else None,
        expires_in_ms=left_ms if timeout_ms else None,
        silent_agent_ids=tuple(agent.id for agent in agents if not agent.sound),
    )


def _why(
    ws: Workspace,
    department: Department,
    chat: Chat,
    first: Candidate,
    following: list[Candidate],
    skipped: dict[str, int],
) -> Why:
    routing = department.settings.routing
    counts = ws.indexes[department.id].counts
    others = {name: counts[name] for name in ("offline", "away", "full") if counts[name]}
    for reason, count in skipped.items():
        others[reason] = others.get(reason, 0) + count
    notes = chat.entry_notes if not first.asked else (*chat.entry_notes, "everybody able was asked before")
    return Why(
        rule=f"{routing.mode}/{routing.strategy}",
        rank=first.rank,
        next=tuple(Ranked(candidate.agent.id, candidate.rank) for candidate in following),
        others=others,
        notes=notes,
    )


def _newcomer(ws: Workspace) -> tuple[Emission, ...]:
    """Whoever became a candidate joins the ring-alls that are open: agents who got room, and those a chat has opened to."""
    for chat_id in ws.open_chats:
        joining = _joining(ws, ws.chats[chat_id])
        if joining:
            return joining
    for agent_id in ws.open_agents:
        agent = ws.agents[agent_id]
        for department_id in ws.departments_of.get(agent_id, ()):
            department = ws.departments[department_id]
            for ringing in ws.indexes[department_id].ringing:
                chat = ws.chats[ringing.chat_id]
                offer = chat.offer
                assert offer is not None, "the index holds chats with an open offer"
                if (
                    len(offer.agent_ids) >= RING_ALL_MAX
                    or agent_id in offer.agent_ids
                    or agent_id in chat.asked
                ):
                    continue
                if obstacle(department, chat, agent) is None:
                    rank = ws.indexes[department_id].ranks[agent_id]
                    return (_offer(ws, chat, offer.id, [agent], Why(rule="ring_all/newcomer", rank=rank)),)
    return ()


def _joining(ws: Workspace, chat: Chat) -> tuple[Emission, ...]:
    """The candidates that a ring-all does not ask yet."""
    offer = chat.offer
    if offer is None or not offer.ring_all or chat.phase != "waiting":
        return ()
    free = RING_ALL_MAX - len(offer.agent_ids)
    new = (one for one in _candidates(ws, chat, {}) if not one.asked and one.agent.id not in offer.agent_ids)
    joining = list(islice(new, max(0, free)))
    if not joining:
        return ()
    why = Why(rule="ring_all/newcomer", rank=joining[0].rank)
    return (_offer(ws, chat, offer.id, [candidate.agent for candidate in joining], why),)


def _announcement(ws: Workspace) -> tuple[Emission, ...]:
    """A chat that entered a queue in this step, and that nobody was asked for."""
    chat_id = next(iter(ws.unannounced), None)
    if chat_id is None:
        return ()
    chat = ws.chats[chat_id]
    position = bisect_left(ws.indexes[chat.department_id].waiting, place(chat)) + 1
    return (
        ChatQueued(
            chat_id=chat.id,
            department_id=chat.department_id,
            position=position,
            estimated_wait_s=_estimate_s(ws.rotas[chat.department_id], position),
        ),
    )


def _estimate_s(rota: Rota, position: int) -> float | None:
    """Position times the mean gap between the last 20 departures; None before there are 20 (the contract, Decisions)."""
    departures = rota.departures_ms
    if len(departures) < DEPARTURES_KEPT:
        return None
    mean_ms = (departures[-1] - departures[0]) / (len(departures) - 1)
    return round(position * mean_ms / 1000, 3)
