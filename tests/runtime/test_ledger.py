"""The ledger of effects on SQLite files."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.runtime.ledger import DAY_MS, KEPT_MS, Ledger, Operation, Standing


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.db'}"


async def test_what_is_settled_is_not_new_after_a_restart(tmp_path: Path) -> None:
    async with Ledger(url(tmp_path)) as ledger:
        assert await ledger.claim("e1", ["a", "b", "c"], now_ms=1) == dict.fromkeys("abc", Standing("new"))
        await ledger.settle("e1", {"a": "sent", "b": "smtp_550"}, now_ms=2)
        await ledger.report("e1", ["a"], now_ms=3)
    async with Ledger(url(tmp_path)) as ledger:
        assert await ledger.claim("e1", ["a", "b", "c", "d"], now_ms=4) == {
            "a": Standing("reported", "sent"),
            "b": Standing("settled", "smtp_550"),
            "c": Standing("unknown"),
            "d": Standing("new"),
        }
        assert (await ledger.claim("e2", ["a"], now_ms=5))["a"] == Standing("new")


async def test_only_what_was_reported_long_ago_is_forgotten(tmp_path: Path) -> None:
    async with Ledger(url(tmp_path)) as ledger:
        await ledger.claim("old", ["a", "b"], now_ms=0)
        await ledger.settle("old", {"a": "sent"}, now_ms=0)
        await ledger.report("old", ["a"], now_ms=0)
        await ledger.claim("young", ["a"], now_ms=DAY_MS)
        await ledger.settle("young", {"a": "sent"}, now_ms=DAY_MS)
        await ledger.report("young", ["a"], now_ms=DAY_MS)
        assert await ledger.forget(now_ms=KEPT_MS + 1) == 1
        assert await ledger.standings("old") == {"b": Standing("unknown")}
        assert await ledger.standings("young") == {"a": Standing("reported", "sent")}


async def test_nothing_to_claim_is_nothing(tmp_path: Path) -> None:
    async with Ledger(url(tmp_path)) as ledger:
        assert await ledger.claim("e", [], now_ms=0) == {}
        await ledger.report("e", [], now_ms=0)
        assert await ledger.standings("e") == {}


async def test_an_outcome_is_written_though_the_database_fails_at_first(tmp_path: Path) -> None:
    class Stumbling(Ledger):
        failures = 0

        def _commit(self, operations: Sequence[Operation]) -> list[Any]:
            if self.failures:
                self.failures -= 1
                raise OSError("the disk is full")
            return super()._commit(operations)

    async with Stumbling(url(tmp_path)) as ledger:
        await ledger.claim("e", ["a"], now_ms=0)
        ledger.failures = 2
        await ledger.settle("e", {"a": "sent"}, now_ms=1)
        assert await ledger.standings("e") == {"a": Standing("settled", "sent")}


async def test_it_keeps_forgetting_until_cancelled(tmp_path: Path) -> None:
    async with Ledger(url(tmp_path)) as ledger:
        await ledger.claim("old", ["a"], now_ms=0)
        await ledger.report("old", ["a"], now_ms=0)
        forgetting = asyncio.create_task(ledger.keep_forgetting(lambda: KEPT_MS + 1))
        async with asyncio.timeout(10):
            while await ledger.standings("old"):
                pass
        assert not forgetting.done()
        forgetting.cancel()
        await asyncio.wait({forgetting})
