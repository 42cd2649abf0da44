"""The drain: who gets which waiting chat, as soon as room or candidates appear.

The one rule: a pair of a waiting chat and a candidate can only have appeared where this step opened a department, a chat or an agent,
and there the heads of the lists are looked at, never everybody (the contract, Offers: never by polling). What is looked at in vain is
struck off the step's notes, or noted on the pool, so no decision of the step looks there again.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from heapq import heappop
from itertools import islice
from typing import NamedTuple

from schemas.decisions import ChatAssigned, ChatOffered, ChatQueued, Ranked, Why
from schemas.types import OfferKind
from services.router.core import endings
from services.router.core.eligibility import demand, is_cooling
from services.router.core.entering import DEPARTURES_KEPT
from services.router.core.index import Place, Pool, Rank
from services.router.core.membership import RING_ALL_MAX, place_of, pool, waits
from services.router.core.offers import offer
from services.router.core.state import Agent, Chat, Department, Emission, Rota, Workspace

WHY_NEXT_MAX = 4
"""How many candidates behind the chosen one are named (the contract, Why)."""


def drain(ws: Workspace) -> tuple[Emission, ...]:
    """The next decision that became due in this step, or () when nothing is left to do."""
    return _turned_away(ws) or _next_chat(ws) or _newcomer(ws) or _announcement(ws)


def _turned_away(ws: Workspace) -> tuple[Emission, ...]:
    """Chats that can't wait where they came to, and bot transfers that can't succeed any more."""
    for chat_id in ws.turned_away:
        chat = ws.chats[chat_id]
        return endings.miss(ws, chat, detail=chat.turned_away)
    while ws.doubtful:
        chat = ws.chats[next(iter(ws.doubtful))]
        failure = None if chat.offer is not None or chat.agent_replied else endings.hopeless(ws, chat)
        if failure is not None:
            return endings.miss(ws, chat, transfer=failure)
        del ws.doubtful[chat.id]
    return ()


# ---------------------------------------------------------------- who waits, and who can take it


def _next_chat(ws: Workspace) -> tuple[Emission, ...]:
    """The oldest waiting chat that somebody can take now, given to the best of them."""
    oldest = min(_heads(ws), default=None)
    return () if oldest is None else _give(ws, ws.chats[oldest.chat_id])


def _heads(ws: Workspace) -> Iterator[Place]:
    """The oldest chat that somebody can take: of those the step opened, and of those that agents who got room and still have some may take."""
    opened = ws.open_places
    while opened and not _somebody_can(ws, opened[0]):
        heappop(opened)
    yield from opened[:1]
    for department_id in ws.open_departments if ws.open_agents else ():
        front = _front(ws, department_id)
        if front is not None:
            yield front
        yield from _kept_heads(ws, department_id)


def _somebody_can(ws: Workspace, place: Place) -> bool:
    """Whether somebody can take a chat that was opened, if it still waits and rings nobody."""
    chat = ws.chats[place.chat_id]
    if chat.offer is not None or not waits(chat):
        return False
    if chat.sticky_id is not None:
        return _can_take(ws, chat, chat.sticky_id)
    return _can_go(chat, _pool_of(ws, chat).ranked)


def _front(ws: Workspace, department_id: str) -> Place | None:
    """The oldest chat of a department's queues that somebody can take."""
    department, index = ws.departments[department_id], ws.indexes[department_id]
    oldest: Place | None = None
    for front, wanted in index.fronts:
        if oldest is not None and oldest < front:
            break
        waiting = index.pools[wanted]
        if waiting.in_vain_at == index.times_roomier:
            continue
        head = _head(ws, pool(ws, department, wanted))
        if head is None:
            waiting.in_vain_at = index.times_roomier
        elif oldest is None or head < oldest:
            oldest = head
    return oldest


def _kept_heads(ws: Workspace, department_id: str) -> Iterator[Place]:
    """The oldest chat kept for each agent who can take it now."""
    kept = ws.indexes[department_id].kept
    for agent_id in ws.open_agents if kept else ():
        for place in kept.get(agent_id, ()):
            if _can_take(ws, ws.chats[place.chat_id], agent_id):
                yield place
                break


def _head(ws: Workspace, waiting: Pool) -> Place | None:
    """The oldest chat of a queue that somebody can take: the first one, unless those who could have just declined it."""
    ranked = waiting.ranked
    if not ranked:
        return None
    return next((place for place in waiting.queue if _can_go(ws.chats[place.chat_id], ranked)), None)


def _can_go(chat: Chat, ranked: list[Rank]) -> bool:
    """Whether one of the candidates has not just declined the chat."""
    return bool(ranked) and (not chat.asked or any(not is_cooling(chat, str(rank[-1])) for rank in ranked))


def _can_take(ws: Workspace, chat: Chat, agent_id: str) -> bool:
    """Whether an agent is a candidate for a chat that waits."""
    if chat.sticky_id not in (None, agent_id) or is_cooling(chat, agent_id):
        return False
    return agent_id in _pool_of(ws, chat).ranks


def _pool_of(ws: Workspace, chat: Chat) -> Pool:
    department = ws.departments[chat.department_id]
    return pool(ws, department, demand(department.settings.routing, chat))


class Candidate(NamedTuple):
    """An agent who can take a chat now."""

    agent: Agent
    rank: Rank
    asked: bool


def candidates(ws: Workspace, department: Department, waiting: Pool, chat: Chat) -> Iterator[Candidate]:
    """Those of a department who can take a chat: in the strategy's order who was not asked yet, then who was, longest ago first."""
    again: dict[str, Candidate] = {}
    for each in in_order(ws, department, waiting.ranked):
        agent_id = str(each[-1])
        if agent_id not in chat.asked:
            yield Candidate(ws.agents[agent_id], each, asked=False)
        elif not is_cooling(chat, agent_id):
            again[agent_id] = Candidate(ws.agents[agent_id], each, asked=True)
    for agent_id in chat.asked:
        if agent_id in again:
            yield again[agent_id]


def in_order(ws: Workspace, department: Department, ranked: list[Rank]) -> Iterator[Rank]:
    """Candidates in the order in which they are asked: round robin goes on behind the last one."""
    start = 0
    last_asked_id = ws.rotas[department.id].last_asked_id
    if department.settings.routing.strategy == "round_robin" and last_asked_id is not None:
        start = bisect_right(ranked, (last_asked_id,))
    for number in range(start, len(ranked)):
        yield ranked[number]
    for number in range(start):
        yield ranked[number]


# ---------------------------------------------------------------- giving


def _give(ws: Workspace, chat: Chat) -> tuple[Emission, ...]:
    department = ws.departments[chat.department_id]
    mode = department.settings.routing.mode
    asked_max = RING_ALL_MAX if mode == "ring_all" else 1
    waiting = _pool_of(ws, chat)
    chosen = list(islice(_choice(ws, department, waiting, chat), asked_max + WHY_NEXT_MAX))
    ringing, following = chosen[:asked_max], chosen[asked_max:]
    why = _why(ws, department, chat, waiting, ringing[0], following)
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
    return (_offer(ws, chat, [candidate.agent for candidate in ringing], why),)


def _choice(ws: Workspace, department: Department, waiting: Pool, chat: Chat) -> Iterator[Candidate]:
    """The candidates; only one where the chat is kept for whom its visitor had last."""
    if chat.sticky_id is None:
        return candidates(ws, department, waiting, chat)
    return iter((Candidate(ws.agents[chat.sticky_id], waiting.ranks[chat.sticky_id], asked=False),))


def _offer(ws: Workspace, chat: Chat, agents: list[Agent], why: Why) -> ChatOffered:
    rings_s = ws.departments[chat.department_id].settings.routing.offer_timeout_s
    kind: OfferKind = "bot_transfer" if chat.bot_transfer else "new"
    return offer(ws, chat, agents, kind=kind, rings_s=rings_s, why=why)


def _why(
    ws: Workspace,
    department: Department,
    chat: Chat,
    waiting: Pool,
    first: Candidate,
    following: list[Candidate],
) -> Why:
    routing = department.settings.routing
    online = waiting.counts
    cooling = sum(1 for agent_id in chat.asked if agent_id in waiting.ranks and is_cooling(chat, agent_id))
    others = {"declined": cooling}
    rule, notes = f"{routing.mode}/{routing.strategy}", chat.entry_notes
    if chat.sticky_id is not None:
        rule = f"{routing.mode}/sticky"
        others["sticky_wait"] = online["candidate"] - 1
    elif first.asked:
        notes = (*notes, "everybody able was asked before")
    return Why(
        rule=rule,
        rank=first.rank,
        next=tuple([Ranked(candidate.agent.id, candidate.rank) for candidate in following]),
        others=passed_over(ws, department, waiting, others),
        notes=notes,
    )


def passed_over(ws: Workspace, department: Department, waiting: Pool, more: dict[str, int]) -> dict[str, int]:
    """How many of a department are no candidates, by reason; the pool knows the reasons that lie with the agents."""
    absent, online = ws.indexes[department.id].counts, waiting.counts
    counts = {
        "offline": absent["offline"],
        "away": absent["away"],
        "full": online["full"],
        "lacks_skill": online["lacks_skill"],
        "tier_closed": online["tier_closed"],
        **more,
    }
    return {reason: count for reason, count in counts.items() if count}


def _newcomer(ws: Workspace) -> tuple[Emission, ...]:
    """Whoever became a candidate joins the ring-alls that are open: agents who got room, and those a chat has opened to."""
    while ws.open_chats:
        chat = ws.chats[next(iter(ws.open_chats))]
        joining = _joining(ws, chat)
        if joining:
            return joining
        del ws.open_chats[chat.id]
    for agent_id in ws.open_agents:
        joins = tuple(_joins(ws, agent_id))
        if joins:
            return joins
    return ()


def _joins(ws: Workspace, agent_id: str) -> Iterator[ChatOffered]:
    """Every ring-all that an agent can join; at once, since a ring takes no room that another could need."""
    for department_id in ws.departments_of.get(agent_id, ()):
        for ringing in ws.indexes[department_id].ringing:
            chat = ws.chats[ringing.chat_id]
            if _may_join(chat, agent_id) and _can_take(ws, chat, agent_id):
                yield _join(ws, chat, [ws.agents[agent_id]])


def _may_join(chat: Chat, agent_id: str) -> bool:
    """Who is not asked yet may join a ring-all, also who let an earlier one ring out; but not who declined the chat."""
    assert chat.offer is not None, "only an open offer is joined"
    return agent_id not in chat.offer.agent_ids and chat.asked.get(agent_id) != "declined"


def _joining(ws: Workspace, chat: Chat) -> tuple[Emission, ...]:
    """The candidates that a ring-all does not ask yet."""
    assert chat.offer is not None, "only an open offer is joined"
    joining = list(islice(_uninvited(ws, chat), RING_ALL_MAX - len(chat.offer.agent_ids)))
    return (_join(ws, chat, joining),) if joining else ()


def _uninvited(ws: Workspace, chat: Chat) -> Iterator[Agent]:
    department = ws.departments[chat.department_id]
    for candidate in candidates(ws, department, _pool_of(ws, chat), chat):
        agent = candidate.agent
        if _may_join(chat, agent.id) and chat.sticky_id in (None, agent.id):
            yield agent


def _join(ws: Workspace, chat: Chat, agents: list[Agent]) -> ChatOffered:
    why = Why(rule="ring_all/newcomer", rank=_pool_of(ws, chat).ranks[agents[0].id])
    return _offer(ws, chat, agents, why)


def _announcement(ws: Workspace) -> tuple[Emission, ...]:
    """A chat that entered a queue in this step, and that nobody was asked for."""
    chat_id = next(iter(ws.unannounced), None)
    if chat_id is None:
        return ()
    chat = ws.chats[chat_id]
    position = bisect_left(ws.indexes[chat.department_id].waiting, place_of(chat)) + 1
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
