"""What was fetched is delivered once and in order, whatever is fetched again."""

import asyncio
from collections.abc import Iterable

from services.runtime.broker import Batch
from services.runtime.inbox import RECORD_OVERHEAD_BYTES, Inbox
from services.runtime.ports import InputRecord


def records(offsets: Iterable[int], topic: str = "a", value: bytes = b"") -> list[InputRecord]:
    return [InputRecord(topic, 0, offset, 0, None, value) for offset in offsets]


def opened(**offsets: int) -> Inbox:
    inbox = Inbox(bytes_max=10 * RECORD_OVERHEAD_BYTES)
    inbox.open(offsets or {"a": 0})
    return inbox


async def taken(inbox: Inbox, *, records_max: int = 100) -> Batch:
    await inbox.wait(wait_ms=0)
    batch = inbox.take(records_max=records_max)
    assert batch is not None
    return batch


def offsets(batch: Batch) -> list[tuple[str, int]]:
    return [(record.topic, record.offset) for record in batch.records]


async def test_what_is_fetched_again_is_dropped() -> None:
    inbox = opened()
    inbox.put("a", records([0, 1, 5]))
    inbox.put("a", records([0, 1, 5]))
    inbox.put("a", records([1, 5, 6]))
    assert inbox.taken == {"a": 0}
    batch = await taken(inbox)
    assert offsets(batch) == [("a", 0), ("a", 1), ("a", 5), ("a", 6)]
    assert batch.next_offsets == inbox.taken == {"a": 7}


async def test_offsets_are_those_of_the_records_taken_not_of_those_waiting() -> None:
    inbox = opened(a=0, b=10)
    inbox.put("a", records([0, 1]))
    inbox.put("b", records([10, 11], "b"))
    first = await taken(inbox, records_max=3)
    assert offsets(first) == [("a", 0), ("a", 1), ("b", 10)]
    assert first.next_offsets == {"a": 2, "b": 11}
    assert (await taken(inbox)).next_offsets == {"a": 2, "b": 12}


async def test_positions_behind_markers_are_committed_once_nothing_waits() -> None:
    inbox = opened()
    inbox.put("a", records([0, 1]))
    inbox.advance("a", 4)
    assert (await taken(inbox, records_max=1)).next_offsets == {"a": 1}
    assert (await taken(inbox)).next_offsets == {"a": 4}
    inbox.advance("a", 6)
    inbox.advance("a", 5)
    empty = await taken(inbox)
    assert (empty.records, empty.next_offsets) == ([], {"a": 6})


async def test_a_closed_inbox_takes_nothing_and_forgets() -> None:
    inbox = opened()
    inbox.put("a", records([0]))
    inbox.close()
    inbox.put("a", records([1]))
    inbox.open({"a": 7})
    assert (await taken(inbox)).next_offsets == {"a": 7}


async def test_it_is_full_by_bytes_and_roomy_when_half_is_gone() -> None:
    inbox = opened()
    inbox.put("a", records(range(9)))
    assert not inbox.full
    inbox.put("a", records([9]))
    assert inbox.full
    await taken(inbox, records_max=4)
    assert not inbox.roomy
    await taken(inbox, records_max=1)
    assert inbox.roomy
    await taken(inbox)
    inbox.put("a", records([20], value=b"x" * 10_000))
    assert inbox.full


async def test_who_waits_is_woken_by_a_record_and_by_the_stop() -> None:
    inbox = opened()
    waiting = asyncio.create_task(inbox.wait(wait_ms=60_000))
    await asyncio.sleep(0)
    inbox.put("a", records([0]))
    await asyncio.wait_for(waiting, 5)
    assert offsets(await taken(inbox)) == [("a", 0)]
    waiting = asyncio.create_task(inbox.wait(wait_ms=60_000))
    await asyncio.sleep(0)
    inbox.stop()
    await asyncio.wait_for(waiting, 5)
    inbox.put("a", records([1]))
    assert inbox.take(records_max=1) is None, "what has not been begun is left to the next owner"
