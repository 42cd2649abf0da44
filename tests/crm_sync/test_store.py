import asyncio

from schemas.events import Layouts
from services.crm_sync.store import Remembered, Store
from tests.crm_sync.material import settings


async def test_settings_and_place_are_kept_together(database_url: str) -> None:
    store = await Store.open(database_url)
    assert await store.load() == Remembered({}, {})
    first = settings(pool=("a", "b"), layouts=Layouts())
    await store.save({"acme": first, "other": settings(connector="none")}, partition=3, next_offset=8)
    await store.save({"acme": settings(owner_id="z")}, partition=3, next_offset=9)
    await store.save({}, partition=4, next_offset=2**40)
    await store.close()
    again = await Store.open(database_url)
    assert await again.load() == Remembered(
        {"acme": settings(owner_id="z"), "other": settings(connector="none")}, {3: 9, 4: 2**40}
    )
    await again.close()


async def test_turns_are_taken_once_each_and_go_on_after_a_restart(database_url: str) -> None:
    store = await Store.open(database_url)
    assert [await store.take_turn(lead, workspace_id="acme") for lead in ("l1", "l2", "l1")] == [0, 1, 0]
    assert await store.take_turn("l9", workspace_id="other") == 0
    await store.close()
    again = await Store.open(database_url)
    assert [await again.take_turn(lead, workspace_id="acme") for lead in ("l2", "l3")] == [1, 2]
    await again.close()


async def test_turns_at_the_same_time_are_all_different(database_url: str) -> None:
    stores = [await Store.open(database_url) for _ in range(2)]
    turns = await asyncio.gather(
        *(stores[number % 2].take_turn(f"l{number}", workspace_id="acme") for number in range(20))
    )
    assert sorted(turns) == list(range(20))
    for store in stores:
        await store.close()


async def test_workers_that_read_the_same_settings_at_once_all_keep_them(database_url: str) -> None:
    stores = [await Store.open(database_url) for _ in range(6)]
    known = {f"w{number}": settings() for number in range(20)}
    await asyncio.gather(*(store.save(known, partition=0, next_offset=20) for store in stores))
    assert await stores[0].load() == Remembered(known, {0: 20})
    for store in stores:
        await store.close()
