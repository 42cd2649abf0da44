"""What a department must find without looking at everybody: its agents by rank, its chats by age.

The one rule: an index holds only what can be made again from the stored entities (`membership.rebuild` does).
"""

from typing import Literal, NamedTuple

from sortedcontainers import SortedList

Category = Literal["offline", "away", "full", "room"]
Rank = tuple[float | str, ...]
"""What candidates are ordered by; the last item is the agent's id, so no two are equal."""


class Place(NamedTuple):
    """A chat's place among those who wait: first come, first served by effective age."""

    age_ms: int
    sequence: int
    chat_id: str


class DepartmentIndex:
    """The agents and the waiting chats of one department, in order."""

    def __init__(self) -> None:
        self.ranked: SortedList[Rank] = SortedList()
        self.ranks: dict[str, Rank] = {}
        self.with_room: SortedList[str] = SortedList()
        self.online: SortedList[str] = SortedList()
        self.categories: dict[str, Category] = {}
        self.counts: dict[Category, int] = {"offline": 0, "away": 0, "full": 0, "room": 0}
        self.languages: dict[str, int] = {}
        self.waiting: SortedList[Place] = SortedList()
        self.queue: SortedList[Place] = SortedList()
        self.ringing: SortedList[Place] = SortedList()
        self.transfers: SortedList[Place] = SortedList()

    def put(self, agent_id: str, category: Category, rank: Rank) -> None:
        """Enters an agent, or moves them to where they now belong."""
        if self.categories.get(agent_id) != category:
            self.drop(agent_id)
            self.categories[agent_id] = category
            self.counts[category] += 1
            if category in ("full", "room"):
                self.online.add(agent_id)
            if category == "room":
                self.with_room.add(agent_id)
        if category == "room" and self.ranks.get(agent_id) != rank:
            self._unrank(agent_id)
            self.ranks[agent_id] = rank
            self.ranked.add(rank)

    def drop(self, agent_id: str) -> None:
        """Takes an agent out, if they are in."""
        category = self.categories.pop(agent_id, None)
        if category is None:
            return
        self.counts[category] -= 1
        if category in ("full", "room"):
            self.online.remove(agent_id)
        if category == "room":
            self.with_room.remove(agent_id)
        self._unrank(agent_id)

    def _unrank(self, agent_id: str) -> None:
        rank = self.ranks.pop(agent_id, None)
        if rank is not None:
            self.ranked.remove(rank)

    def speak(self, languages: tuple[str, ...], change: int) -> None:
        """Counts an agent's languages in (1) or out (-1)."""
        for language in languages:
            self.languages[language] = self.languages.get(language, 0) + change
