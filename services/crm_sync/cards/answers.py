"""Keeps the CRM's answers for a bounded time, and lets it be asked at most once at a time for the same thing.

The one rule: an answer belongs to the settings it was asked under. Other settings, or `forget`, make it unknown at once, and a question
that was under way by then is not kept.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from cachetools import TTLCache

from services.crm_sync.connectors.records import Card, Person
from services.runtime.problems import NotNow

AGE_S = 60.0
"""How old an answer may be: an agent who has changed something in the CRM sees it in the chat within a minute."""
KEPT_MAX = 2_000
"""Answers kept for one connector; a card has some kilobytes."""
QUESTIONS_MAX = 16
"""Questions of one workspace under way: more would keep its conversations from the CRM."""
RETRY_AFTER_S = 1.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Known:
    """What a CRM answered about an address: whom the rule chose of how many, and their card where the connector has cards.

    Without `read_at` it was not asked, or refused to answer.
    """

    read_at: str | None = None
    matches: int = 0
    chosen: Person | None = None
    card: Card | None = None


@dataclass(frozen=True, slots=True)
class _Kept(Generic[Answer]):
    settings: Hashable
    answer: Answer


@dataclass(slots=True, eq=False)
class _Question(Generic[Answer]):
    settings: Hashable
    task: asyncio.Task[Answer]
    outdated: bool = False


class Answers(Generic[Answer]):
    """Answers about things of workspaces, such as the people with an address. `clock_s`: any clock that only goes forward."""

    def __init__(self, *, clock_s: Callable[[], float] = monotonic) -> None:
        self._kept: TTLCache[tuple[str, str], _Kept[Answer]] = TTLCache(KEPT_MAX, AGE_S, timer=clock_s)
        self._asked: dict[tuple[str, str], _Question[Answer]] = {}
        self._under_way: dict[asyncio.Task[Answer], str] = {}

    async def of(
        self, thing: str, ask: Callable[[], Awaitable[Answer]], *, workspace_id: str, settings: Hashable
    ) -> Answer:
        """Return what is known, or what `ask` returns or raises. Raises NotNow where a workspace asks too much at once."""
        key = (workspace_id, thing)
        kept = self._kept.get(key)
        if kept is not None and kept.settings == settings:
            return kept.answer
        question = self._asked.get(key)
        if question is None or question.outdated or question.settings != settings:
            question = self._begin(key, ask, settings=settings, after=question)
        # Whoever asks may go away; the others still wait for the answer.
        return await asyncio.shield(question.task)

    def forget(self, thing: str, *, workspace_id: str) -> None:
        """What is known of this is out of date, and so is what is being asked."""
        self._kept.pop((workspace_id, thing), None)
        question = self._asked.get((workspace_id, thing))
        if question is not None:
            question.outdated = True

    async def close(self) -> None:
        """End the questions that are under way."""
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(
        self,
        key: tuple[str, str],
        ask: Callable[[], Awaitable[Answer]],
        *,
        settings: Hashable,
        after: _Question[Answer] | None,
    ) -> _Question[Answer]:
        workspace_id, _ = key
        if sum(of == workspace_id for of in self._under_way.values()) >= QUESTIONS_MAX:
            raise NotNow("too many are asking the CRM", retry_after_s=RETRY_AFTER_S)

        async def answer() -> Answer:
            if after is not None:
                await asyncio.wait({after.task})
            return await ask()

        question = _Question(settings, asyncio.create_task(answer()))
        self._asked[key] = question
        self._under_way[question.task] = workspace_id
        question.task.add_done_callback(lambda _: self._end(key, question))
        return question

    def _end(self, key: tuple[str, str], question: _Question[Answer]) -> None:
        task = question.task
        del self._under_way[task]
        if self._asked.get(key) is not question:
            return
        del self._asked[key]
        if not task.cancelled() and task.exception() is None and not question.outdated:
            self._kept[key] = _Kept(question.settings, task.result())
