"""What the CRM answered is kept for a bounded time, and one question at a time is asked about the same thing."""

import asyncio
from collections.abc import Callable

import pytest

from services.crm_sync.cards.answers import AGE_S, KEPT_MAX, QUESTIONS_MAX, Answers
from services.runtime.effects import Refused
from services.runtime.problems import NotNow

ACME, OTHER = "acme", "other"


class Crm:
    """Answers with the number of the question, once it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.at_once = 0
        self.most_at_once = 0
        self.open = asyncio.Event()
        self.open.set()
        self.trouble: Exception | None = None

    async def ask(self) -> int:
        self.asked += 1
        number = self.asked
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.open.wait()
        self.at_once -= 1
        if self.trouble is not None:
            raise self.trouble
        return number


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def turns() -> None:
    """Let everybody who can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_answer_is_kept_for_its_age_and_no_longer() -> None:
    clock, crm = Clock(), Crm()
    answers = Answers[int](clock_s=clock)

    async def ask(thing: str = "h", workspace_id: str = ACME) -> int:
        return await answers.of(thing, crm.ask, workspace_id=workspace_id, settings=1)

    assert await ask() == await ask() == 1
    clock.now_s = AGE_S - 0.001
    assert await ask() == 1
    clock.now_s = AGE_S
    assert await ask() == 2
    assert await ask(workspace_id=OTHER) == 3
    assert await ask(thing="other") == 4


async def test_no_more_are_kept_than_the_limit() -> None:
    crm = Crm()
    answers = Answers[int]()
    for number in range(KEPT_MAX + 1):
        await answers.of(str(number), crm.ask, workspace_id=ACME, settings=1)
    await answers.of("0", crm.ask, workspace_id=ACME, settings=1)
    assert crm.asked == KEPT_MAX + 2, "the oldest made room"


async def test_other_settings_are_another_question() -> None:
    crm = Crm()
    answers = Answers[int]()
    assert await answers.of("h", crm.ask, workspace_id=ACME, settings=1) == 1
    assert await answers.of("h", crm.ask, workspace_id=ACME, settings=2) == 2
    assert await answers.of("h", crm.ask, workspace_id=ACME, settings=2) == 2


async def test_many_at_once_are_one_question_and_whoever_leaves_takes_nobody_along() -> None:
    crm = Crm()
    crm.open.clear()
    answers = Answers[int]()
    asking = [asyncio.create_task(answers.of("h", crm.ask, workspace_id=ACME, settings=1)) for _ in range(50)]
    await turns()
    asking[0].cancel()
    asking[7].cancel()
    await turns()
    crm.open.set()
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert [one for one in told if not isinstance(one, asyncio.CancelledError)] == [1] * 48
    assert crm.asked == 1


async def test_a_question_goes_on_when_all_have_left_and_its_answer_is_kept() -> None:
    crm = Crm()
    crm.open.clear()
    answers = Answers[int]()
    asking = asyncio.create_task(answers.of("h", crm.ask, workspace_id=ACME, settings=1))
    await turns()
    asking.cancel()
    crm.open.set()
    await turns()
    assert await answers.of("h", crm.ask, workspace_id=ACME, settings=1) == 1
    assert crm.asked == 1


async def test_a_failure_is_told_to_all_and_not_kept() -> None:
    crm = Crm()
    crm.trouble = Refused("access_denied")
    answers = Answers[int]()
    told = await asyncio.gather(
        *(answers.of("h", crm.ask, workspace_id=ACME, settings=1) for _ in range(3)), return_exceptions=True
    )
    assert told == [crm.trouble] * 3
    crm.trouble = None
    assert await answers.of("h", crm.ask, workspace_id=ACME, settings=1) == 2


@pytest.mark.parametrize(
    "change",
    [lambda answers: answers.forget("h", workspace_id=ACME), lambda _: None],
    ids=["told", "settings"],
)
async def test_what_was_asked_before_a_change_is_not_kept_and_one_question_at_a_time_stays(
    change: Callable[[Answers[int]], None],
) -> None:
    crm = Crm()
    crm.open.clear()
    answers = Answers[int]()
    before = asyncio.create_task(answers.of("h", crm.ask, workspace_id=ACME, settings=1))
    await turns()
    change(answers)
    after = [asyncio.create_task(answers.of("h", crm.ask, workspace_id=ACME, settings=2)) for _ in range(3)]
    await turns()
    crm.open.set()
    assert await before == 1
    assert await asyncio.gather(*after) == [2, 2, 2]
    assert await answers.of("h", crm.ask, workspace_id=ACME, settings=2) == 2
    assert (crm.asked, crm.most_at_once) == (2, 1)


async def test_what_is_forgotten_is_asked_anew() -> None:
    crm = Crm()
    answers = Answers[int]()
    assert await answers.of("h", crm.ask, workspace_id=ACME, settings=1) == 1
    answers.forget("h", workspace_id=OTHER)
    answers.forget("other", workspace_id=ACME)
    assert await answers.of("h", crm.ask, workspace_id=ACME, settings=1) == 1
    answers.forget("h", workspace_id=ACME)
    assert await answers.of("h", crm.ask, workspace_id=ACME, settings=1) == 2


async def test_a_workspace_asks_so_much_at_once_and_no_other_has_to_wait_for_it() -> None:
    crm = Crm()
    crm.open.clear()
    answers = Answers[int]()
    asking = [
        asyncio.create_task(answers.of(str(number), crm.ask, workspace_id=ACME, settings=1))
        for number in range(QUESTIONS_MAX)
    ]
    await turns()
    with pytest.raises(NotNow):
        await answers.of("one more", crm.ask, workspace_id=ACME, settings=1)
    other = asyncio.create_task(answers.of("h", crm.ask, workspace_id=OTHER, settings=1))
    crm.open.set()
    assert await other == QUESTIONS_MAX + 1
    await asyncio.gather(*asking)
    assert await answers.of("one more", crm.ask, workspace_id=ACME, settings=1)


async def test_closing_ends_what_is_being_asked() -> None:
    crm = Crm()
    crm.open.clear()
    answers = Answers[int]()
    asking = asyncio.create_task(answers.of("h", crm.ask, workspace_id=ACME, settings=1))
    await turns()
    await answers.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
