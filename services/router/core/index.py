"""What a department must find without looking at everybody: its agents by rank, its chats by age.

The one rule: an index holds only what can be made again from the stored entities (`membership.rebuild` does).
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

Category = Literal["offline", "away", "full", "room"]
Standing = Literal["candidate", "full", "lacks_skill", "tier_closed"]
"""How an agent who is online stands to a demand."""
Rank = tuple[float | str, ...]
"""What candidates are ordered by; the last item is the agent's id, so no two are equal."""
POOLS_IDLE_MAX = 32
"""So many pools are kept in a department although nobody waits with their demand."""


class Place(NamedTuple):
    """A chat's place among those who wait: first come, first served by effective age."""

    age_ms: int
    sequence: int
    chat_id: str


class Demand(NamedTuple):
    """What a waiting chat asks of an agent; chats with the same demand wait for the same agents."""

    cost: int
    skills: tuple[str, ...]
    """Those an agent must have; none once they are relaxed."""
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

    Who changed is only noted (`behind`); `membership.pool` catches up when somebody asks, so a pool that nobody asks costs nothing.
    """

    __slots__ = ("_standings", "behind", "counts", "demand", "queue", "ranked", "ranks")

    def __init__(self, demand: Demand, members: Iterable[str]) -> None:
        self.demand = demand
        self.ranked: list[Rank] = []
        """The candidates, in the strategy's order."""
        self.ranks: dict[str, Rank] = {}
        self.counts: dict[Standing, int] = {"candidate": 0, "full": 0, "lacks_skill": 0, "tier_closed": 0}
        self.queue: list[Place] = []
        """The chats that wait with this demand and ring nobody, oldest first."""
        self.behind: dict[str, None] = dict.fromkeys(members)
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
        self.pools: dict[Demand, Pool] = {}
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
        for pool in self.pools.values():
            pool.behind[agent_id] = None

    def drop(self, agent_id: str) -> None:
        """Takes an agent out, if they are in."""
        before = self.categories.pop(agent_id, None)
        if before is not None:
            self._count(agent_id, before, None)
            for pool in self.pools.values():
                pool.behind[agent_id] = None

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
            if len(self.pools) >= POOLS_IDLE_MAX:
                self.pools = {each: pool for each, pool in self.pools.items() if pool.queue}
            found = self.pools[demand] = Pool(demand, self.categories)
        return found

    def speak(self, languages: tuple[str, ...], change: int) -> None:
        """Counts an agent's languages in (1) or out (-1)."""
        for language in languages:
            self.languages[language] = self.languages.get(language, 0) + change
