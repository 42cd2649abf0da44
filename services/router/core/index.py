"""What a department must find without looking at everybody: its agents by rank, its chats by age.

The one rule: an index holds only what can be made again from the stored entities (`membership.rebuild` does).
"""

from bisect import bisect_left, insort
from typing import Any, Literal, NamedTuple

Category = Literal["offline", "away", "full", "room"]
Rank = tuple[float | str, ...]
"""What candidates are ordered by; the last item is the agent's id, so no two are equal."""


class Place(NamedTuple):
    """A chat's place among those who wait: first come, first served by effective age."""

    age_ms: int
    sequence: int
    chat_id: str


def take_out(entries: list[Any], entry: Any) -> None:
    """Takes an entry, which must be there, out of a list in order.

    Such lists are short, and change at their ends most of the time: to move what follows takes less than a balanced list's books.
    """
    place = bisect_left(entries, entry)
    assert entries[place] == entry, "the index holds what stands in the entities"
    del entries[place]


class DepartmentIndex:
    """The agents and the waiting chats of one department: every list is in order."""

    def __init__(self) -> None:
        self.ranked: list[Rank] = []
        self.ranks: dict[str, Rank] = {}
        self.with_room: list[str] = []
        self.online: list[str] = []
        self.categories: dict[str, Category] = {}
        self.counts: dict[Category, int] = {"offline": 0, "away": 0, "full": 0, "room": 0}
        self.languages: dict[str, int] = {}
        self.waiting: list[Place] = []
        self.queue: list[Place] = []
        self.ringing: list[Place] = []
        self.transfers: list[Place] = []

    def put(self, agent_id: str, category: Category, rank: Rank) -> None:
        """Enters an agent, or moves them to where they now belong."""
        if self.categories.get(agent_id) != category:
            self.drop(agent_id)
            self.categories[agent_id] = category
            self.counts[category] += 1
            if category in ("full", "room"):
                insort(self.online, agent_id)
            if category == "room":
                insort(self.with_room, agent_id)
        if category == "room" and self.ranks.get(agent_id) != rank:
            self._unrank(agent_id)
            self.ranks[agent_id] = rank
            insort(self.ranked, rank)

    def drop(self, agent_id: str) -> None:
        """Takes an agent out, if they are in."""
        category = self.categories.pop(agent_id, None)
        if category is None:
            return
        self.counts[category] -= 1
        if category in ("full", "room"):
            take_out(self.online, agent_id)
        if category == "room":
            take_out(self.with_room, agent_id)
        self._unrank(agent_id)

    def _unrank(self, agent_id: str) -> None:
        rank = self.ranks.pop(agent_id, None)
        if rank is not None:
            take_out(self.ranked, rank)

    def speak(self, languages: tuple[str, ...], change: int) -> None:
        """Counts an agent's languages in (1) or out (-1)."""
        for language in languages:
            self.languages[language] = self.languages.get(language, 0) + change
