"""What a department must find without looking at everybody: its agents by rank, its chats by age.

The one rule: an index holds only what can be made again from the stored entities (`membership.rebuild` does).
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from typing import Any, Literal, NamedTuple

Category = Literal["offline", "away", "full", "room"]
Standing = Literal["candidate", "full", "lacks_skill", "tier_closed"]
"""How an agent who is online stands to a demand."""
Rank = tuple[float | str, ...]
"""What candidates are ordered by; the last item is the agent's id, so no two are equal."""
POOLS_IDLE_MAX = 128
"""So many pools are kept in a department although nobody waits with their demand: ten thousand agents, all with room, take 1.1 MB in each."""


class Place(NamedTuple):
    """A chat's place among those who wait: first come, first served by effective age."""

    age_ms: int
    sequence: int
    chat_id: str


class Demand(NamedTuple):
    """What a waiting chat asks of an agent; chats with the same demand wait for the same agents."""

    cost: int
    skills: tuple[str, ...]
    """Those an agent must have, each once and in order; none once they are relaxed."""
    tiers: int
    """How many of the department's tiers are open to it."""


def take_out(entries: list[Any], entry: Any) -> None:
    """Takes an entry, which must be there, out of a list in order.

    Such lists change at their ends most of the time; and to move ten thousand entries takes a microsecond, less than a
    balanced list's books.
    """
    place = bisect_left(entries, entry)
    assert entries[place] == entry, "the index holds what stands in the entities"
    del entries[place]


class Pool:
    """The agents of a department who are online, as they stand to one demand, and the chats that wait with it.

    It is told of no change: `membership.pool` catches up when somebody asks, so a pool that nobody asks costs nothing.
    """

    __slots__ = ("_standings", "counts", "demand", "in_vain_at", "queue", "ranked", "ranks", "up_to")

    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        self.up_to = 0
        """How many of the department's changes it has caught up with."""
        self.in_vain_at = -1
        """How often agents had got room when nobody could take any chat of its queue."""
        self.ranked: list[Rank] = []
        """The candidates, in the strategy's order."""
        self.ranks: dict[str, Rank] = {}
        self.counts: dict[Standing, int] = {"candidate": 0, "full": 0, "lacks_skill": 0, "tier_closed": 0}
        self.queue: list[Place] = []
        """The chats that wait with this demand and ring nobody, oldest first."""
        self._standings: dict[str, Standing] = {}

    @property
    def eligible(self) -> int:
        """How many are online and have the skills, with or without room."""
        return len(self._standings) - self.counts["lacks_skill"]

    def is_eligible(self, agent_id: str) -> bool:
        """Whether an agent is one of those."""
        return self._standings.get(agent_id, "lacks_skill") != "lacks_skill"

    def put(self, agent_id: str, standing: Standing | None, rank: Rank) -> None:
        """Enters an agent as they now stand; None: they are not online here."""
        before = self._standings.get(agent_id)
        if before != standing:
            if before is not None:
                self.counts[before] -= 1
            if standing is None:
                del self._standings[agent_id]
            else:
                self._standings[agent_id] = standing
                self.counts[standing] += 1
        ranked = self.ranks.get(agent_id)
        if standing != "candidate":
            if ranked is not None:
                take_out(self.ranked, self.ranks.pop(agent_id))
        elif ranked != rank:
            if ranked is not None:
                take_out(self.ranked, ranked)
            self.ranks[agent_id] = rank
            insort(self.ranked, rank)


class DepartmentIndex:
    """The agents and the waiting chats of one department: every list is in order."""

    def __init__(self) -> None:
        self.tiers: dict[str, int] = {}
        """The tier of each agent whom the settings name in one."""
        self.languages: dict[str, int] = {}
        self.categories: dict[str, Category] = {}
        self.counts: dict[Category, int] = {"offline": 0, "away": 0, "full": 0, "room": 0}
        self.with_room: list[str] = []
        self.changed: OrderedDict[str, int] = OrderedDict()
        """Agents with the number of their last change, the last changed last."""
        self.changes = 0
        self.times_roomier = 0
        """How often an agent may have become a candidate."""
        self.pools: dict[Demand, Pool] = {}
        self.fronts: list[tuple[Place, Demand]] = []
        """The first chat of each pool's queue."""
        self.idle: OrderedDict[Demand, None] = OrderedDict()
        """The pools without a queue, the longest unasked first."""
        self.waiting: list[Place] = []
        """Every chat that waits here, rung ones too."""
        self.transfers: list[Place] = []
        """Those of them that a bot handed over."""
        self.ringing: list[Place] = []
        """Those whose ring-all can take more agents."""
        self.kept: dict[str, list[Place]] = {}
        """Those that wait for the agent their visitor had last, by agent."""

    def put(self, agent_id: str, category: Category) -> None:
        """Enters an agent, or notes that they changed."""
        before = self.categories.get(agent_id)
        if before != category:
            self._count(agent_id, before, category)
            self.categories[agent_id] = category
        self._note(agent_id)

    def drop(self, agent_id: str) -> None:
        """Takes an agent out, if they are in."""
        before = self.categories.pop(agent_id, None)
        if before is not None:
            self._count(agent_id, before, None)
            self._note(agent_id)

    def _note(self, agent_id: str) -> None:
        self.changes += 1
        self.changed[agent_id] = self.changes
        self.changed.move_to_end(agent_id)

    def missed_by(self, pool: Pool) -> list[str]:
        """Who changed since a pool caught up, which it does now."""
        missed = []
        for agent_id, number in reversed(self.changed.items()):
            if number <= pool.up_to:
                break
            missed.append(agent_id)
        pool.up_to = self.changes
        return missed

    def _count(self, agent_id: str, before: Category | None, after: Category | None) -> None:
        if before is not None:
            self.counts[before] -= 1
            if before == "room":
                take_out(self.with_room, agent_id)
        if after is not None:
            self.counts[after] += 1
            if after == "room":
                insort(self.with_room, agent_id)

    @property
    def online(self) -> int:
        """How many agents are online, with or without room."""
        return self.counts["full"] + self.counts["room"]

    def pool(self, demand: Demand) -> Pool:
        """The pool of a demand, new if nobody asked with it lately; it may be behind."""
        found = self.pools.get(demand)
        if found is None:
            found = self.pools[demand] = Pool(demand)
            self._rest(demand)
        elif not found.queue:
            self.idle.move_to_end(demand)
        return found

    def enter(self, pool: Pool, place: Place) -> None:
        """Enters a chat into a pool's queue."""
        self._hide(pool)
        insort(pool.queue, place)
        self._show(pool)

    def leave(self, pool: Pool, place: Place) -> None:
        """Takes a chat, which must be there, out of a pool's queue."""
        self._hide(pool)
        take_out(pool.queue, place)
        self._show(pool)

    def _hide(self, pool: Pool) -> None:
        if pool.queue:
            take_out(self.fronts, (pool.queue[0], pool.demand))
        else:
            del self.idle[pool.demand]

    def _show(self, pool: Pool) -> None:
        if pool.queue:
            insort(self.fronts, (pool.queue[0], pool.demand))
        else:
            self._rest(pool.demand)

    def _rest(self, demand: Demand) -> None:
        """Notes that nobody waits with a demand; of too many such pools, one goes."""
        self.idle[demand] = None
        if len(self.idle) > POOLS_IDLE_MAX:
            del self.pools[self.idle.popitem(last=False)[0]]

    def speak(self, languages: tuple[str, ...], change: int) -> None:
        """Counts an agent's languages in (1) or out (-1)."""
        for language in languages:
            speakers = self.languages.pop(language, 0) + change
            if speakers:
                self.languages[language] = speakers
