"""A `Log` in memory, outcome records, and a way to crash at any await."""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import coroutine
from typing import Any

from sqlalchemy import select

from schemas import codec, topics
from schemas.outcomes import CrmOwner, CrmRecord, CrmSettled, MailSettled
from services.runtime.metrics import Metrics
from services.runtime.ports import InputRecord
from services.transcript.archive import tables
from services.transcript.archive.batch import Partition
from services.transcript.archive.database import Archive
from services.transcript.archive.projector import Projector
from tests.transcript.driving import Driver
from tests.transcript.world import World


@dataclass
class ListLog:
    """Serves records from a list; `served` grows as the topics would."""

    records: Sequence[InputRecord]
    batch: int = 1_000
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    offsets: dict[Partition, int] = field(default_factory=dict)

    async def partitions(self) -> Mapping[Partition, int]:
        found = sorted({(record.topic, record.partition) for record in self.records})
        return {partition: self.end(partition) for partition in found}

    async def seek(self, offsets: Mapping[Partition, int]) -> None:
        self.offsets = dict(offsets)

    async def read(self, *, records_max: int, wait_ms: int) -> Sequence[InputRecord]:  # noqa: ARG002 - the port's
        await asyncio.sleep(0)
        found = [r for r in self.records if r.offset >= self.offsets[(r.topic, r.partition)]]
        found = found[: min(self.batch, records_max)]
        for record in found:
            self.offsets[(record.topic, record.partition)] = record.offset + 1
        if not found:
            self.drained.set()
        return found

    async def position(self, partition: Partition) -> int:
        return self.offsets[partition]

    def end(self, partition: Partition) -> int:
        return 1 + max(r.offset for r in self.records if (r.topic, r.partition) == partition)


def everything(world: World) -> list[InputRecord]:
    """All topics of a world: its transcripts, and outcomes for each, besides its events, decisions and notices."""
    driver = Driver()
    driver.feed([*world.events, *world.routing])
    records = [*world.events, *world.routing, *world.notices]
    for number, output in enumerate(driver.outputs):
        found, workspace_id = codec.transcripts.decode(output.value).data, output.key.decode()
        records.append(InputRecord(topics.TRANSCRIPTS, 0, number, world.now_ms, output.key, output.value))
        mail = MailSettled(f"n{number}", "transcript", "hash", "sent", chat_id=found.chat_id)
        activity = CrmSettled(
            "activity",
            "done",
            chat_id=found.chat_id,
            revision=found.revision,
            record=CrmRecord("lead", "l1"),
            owner=CrmOwner("o1"),
        )
        for topic, data in ((topics.DELIVERIES, mail), (topics.ACTIVITIES, activity)):
            value = codec.encode(
                data, event_id=f"o{number}", source="/x", at_ms=world.now_ms, workspace_id=workspace_id
            )
            records.append(InputRecord(topic, 0, number, world.now_ms, output.key, value))
    for number, (workspace_id, settled) in enumerate(world.settled, start=len(driver.outputs)):
        value = codec.encode(
            settled, event_id=f"o{number}", source="/x", at_ms=world.now_ms, workspace_id=workspace_id
        )
        records.append(InputRecord(topics.DELIVERIES, 0, number, world.now_ms, workspace_id.encode(), value))
    return records


async def watched(work: Coroutine[Any, Any, None], at_await: Callable[[], None]) -> None:
    """Runs `work` to its end; calls `at_await` wherever it waits for something that is under way."""

    @coroutine
    def drive() -> Generator[Any, Any, None]:
        resume = partial(work.send, None)
        while True:
            try:
                waiting = resume()
            except StopIteration:
                return
            at_await()
            try:
                resume = partial(work.send, (yield waiting))
            except BaseException as error:  # noqa: BLE001 - what it waited for has failed: told to `work`
                resume = partial(work.throw, error)

    await drive()


class Crashes:
    """Copies of a SQLite database as a killed process would leave it, at every await at which it differs."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self.copies: list[Path] = []
        self._last: tuple[bytes, bytes] | None = None

    def copy(self) -> None:
        log = self._database.with_name(self._database.name + "-wal")
        files = (self._database.read_bytes(), log.read_bytes() if log.exists() else b"")
        if files == self._last:
            return
        self._last = files
        copied = self._database.with_name(f"crash-{len(self.copies)}.sqlite3")
        copied.write_bytes(files[0])
        copied.with_name(copied.name + "-wal").write_bytes(files[1])
        self.copies.append(copied)


async def contents(archive: Archive) -> dict[str, list[tuple[Any, ...]]]:
    """All rows by table, without the numbers that texts get in the order in which they come."""
    async with archive.engine.connect() as connection:
        return {
            table.name: sorted(
                (
                    tuple(row)
                    for row in await connection.execute(select(*(c for c in table.c if c.name != "id")))
                ),
                key=repr,
            )
            for table in tables.metadata.sorted_tables
        }


async def drain(archive: Archive, records: Sequence[InputRecord], *, batch: int = 1_000) -> Metrics:
    """Archives all records, then stops."""
    source, stop, metrics = ListLog(records, batch), asyncio.Event(), Metrics()
    running = asyncio.create_task(Projector(archive, source, metrics=metrics).run(stop))
    await asyncio.wait_for(source.drained.wait(), 10)
    stop.set()
    await running
    return metrics
