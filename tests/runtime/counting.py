"""A worker for the tests: counts the records of each key, and says so for every record.

Run as a process it is a real worker: `python -m tests.runtime.counting`.
"""

import asyncio
from collections.abc import Iterable

from pydantic import Field

from schemas.codec import Poison, UnknownType
from services.runtime.ports import Change, InputRecord, OutputRecord
from services.runtime.process import main_of
from services.runtime.runner import run_worker
from services.runtime.settings import RuntimeSettings
from services.runtime.ticks import TickSettings

SILENT = b"silent"
POISON = b"poison"
UNKNOWN = b"unknown"
BUG = b"bug"


class Counting:
    """The processor: its whole state is in the changelog."""

    def __init__(self, output: str) -> None:
        self.counts: dict[bytes, int] = {}
        self.is_restored = False
        self._output = output
        self._changed: set[bytes] = set()

    def restore(self, key: bytes, value: bytes) -> None:
        self.counts[key] = int(value)

    def restored(self) -> None:
        self.is_restored = True

    def process(self, record: InputRecord) -> Iterable[OutputRecord]:
        value = record.value or b""
        if value == POISON:
            raise Poison("not a number")
        if value == UNKNOWN:
            raise UnknownType("later.v2")
        if value == BUG:
            raise ZeroDivisionError
        if value == SILENT or b"router.tick.v1" in value:
            return []
        key = record.key or b""
        self.counts[key] = self.counts.get(key, 0) + 1
        self._changed.add(key)
        text = f"{self.counts[key]}:{record.topic[-3:]}:{record.partition}:{record.offset}:{len(value)}"
        return [OutputRecord(self._output, key, text.encode())]

    def changes(self) -> Iterable[Change]:
        changed, self._changed = sorted(self._changed), set()
        return [(key, str(self.counts[key]).encode()) for key in changed]


class CountingSettings(RuntimeSettings):
    """Where it reads and writes."""

    inputs: tuple[str, ...] = Field(default=("in",))
    output: str = Field(default="out")
    state: str = Field(default="state")
    tick_interval_ms: int = Field(default=0)


async def count(settings: CountingSettings, stop: asyncio.Event) -> None:
    ticks = None
    if settings.tick_interval_ms:
        ticks = TickSettings(settings.inputs[0], settings.tick_interval_ms, "/tests")
    await run_worker(
        settings=settings,
        inputs=settings.inputs,
        changelog=settings.state,
        factory=lambda _partition: Counting(settings.output),
        stop=stop,
        ticks=ticks,
    )


if __name__ == "__main__":
    main_of(CountingSettings, count)
