"""Who is let in while a workspace's CRM is at its limit."""

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest

from services.crm_sync.admission import FROM_TOPIC_MAX, PLACES_MAX, REQUESTS, Admission, room_in
from services.runtime.effects import PARKED, Away

PLACES = 5


@contextmanager
def brought_again() -> Iterator[None]:
    token = PARKED.set(True)
    try:
        yield
    finally:
        PARKED.reset(token)


def admission(*parked: str, per_s_max: float = 2 * PLACES) -> Admission:
    return Admission("crm", per_s_max=per_s_max, waits=lambda queue: queue in parked)


async def let_in(
    stack: AsyncExitStack, door: Admission, workspace_id: str = "acme", *, of_agent: bool = False
) -> int:
    """Let in as many as go in; return how many."""
    queues: list[str] = []
    number = 0
    while not queues:
        assert number < 10 * PLACES_MAX, "there is no end to it"
        try:
            await stack.enter_async_context(door.admitted(workspace_id, of_agent=of_agent))
            number += 1
        except Away as away:
            queues.append(away.queue)
    assert queues == [f"crm/{workspace_id}{REQUESTS if of_agent else ''}"]
    return number


async def test_few_come_straight_from_the_topic_and_as_many_again_once_they_are_done() -> None:
    door = admission()
    for _ in range(2):
        async with AsyncExitStack() as stack:
            assert await let_in(stack, door) == FROM_TOPIC_MAX
            assert await let_in(stack, door, "bell") == FROM_TOPIC_MAX, "each workspace has places of its own"


async def test_nobody_from_the_topic_overtakes_who_was_parked() -> None:
    async with AsyncExitStack() as stack:
        door = admission("crm/acme")
        assert await let_in(stack, door) == 0
        assert await let_in(stack, door, of_agent=True) == FROM_TOPIC_MAX, (
            "nor do conversations hold up agents"
        )
        assert await let_in(stack, door, "bell") == FROM_TOPIC_MAX


@pytest.mark.parametrize(("per_s_max", "places"), [(0.2, 1), (1, 1), (10, 5), (25, 12), (1_000, PLACES_MAX)])
async def test_who_was_parked_comes_as_far_as_the_rate_is_kept_busy(per_s_max: float, places: int) -> None:
    door = admission("crm/acme", per_s_max=per_s_max)
    async with AsyncExitStack() as stack:
        with brought_again():
            assert door.room("crm/acme") == places
            assert await let_in(stack, door) == places
        assert door.room("crm/acme") == 0
        assert door.room("crm/bell") == places
    assert door.room("crm/acme") == places


async def test_only_queues_of_connectors_with_a_rate_are_bounded() -> None:
    doors = {"crm": admission()}
    assert [room_in(doors, queue) for queue in ("crm/acme", "other/acme", "slow")] == [PLACES, None, None]
