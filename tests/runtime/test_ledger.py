"""The ledger of effects, on both kinds of databases."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from services.runtime.failures import WorkerFailed
from services.runtime.ledger import DAY_MS, HELD_WAIT_MIN_S, KEPT_MS, Ledger, Operation, Standing


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.db'}"


async def test_what_is_settled_is_not_new_after_a_restart(database_url: str) -> None:
    async with Ledger(database_url, group="effects") as ledger:
        assert await ledger.claim("e1", ["a", "b", "c"], now_ms=1) == dict.fromkeys("abc", Standing("new"))
        await ledger.settle("e1", {"a": "sent", "b": "smtp_550"}, now_ms=2)
        await ledger.report("e1", ["a"], now_ms=3)
    async with Ledger(database_url, group="effects", now_ms=lambda: 4) as ledger:
        assert await ledger.claim("e1", ["a", "b", "c", "d"], now_ms=4) == {
            "a": Standing("reported", "sent"),
            "b": Standing("settled", "smtp_550"),
            "c": Standing("unknown"),
            "d": Standing("new"),
        }
        assert (await ledger.claim("e2", ["a"], now_ms=5))["a"] == Standing("new")


async def test_workers_that_begin_together_make_the_tables_together(database_url: str) -> None:
    async with AsyncExitStack() as stack:
        ledgers = [Ledger(database_url, group="effects") for _ in range(8)]
        await asyncio.gather(*(stack.enter_async_context(ledger) for ledger in ledgers))
        assert (await ledgers[0].claim("e1", ["a"], now_ms=1))["a"] == Standing("new")
        assert await ledgers[1].standings("e1") == {"a": Standing("unknown")}


async def test_only_what_was_reported_long_ago_is_forgotten(database_url: str) -> None:
    async with Ledger(database_url, group="effects") as ledger:
        await ledger.claim("old", ["a", "b"], now_ms=0)
        await ledger.settle("old", {"a": "sent"}, now_ms=0)
        await ledger.report("old", ["a"], now_ms=0)
        await ledger.claim("young", ["a"], now_ms=DAY_MS)
        await ledger.settle("young", {"a": "sent"}, now_ms=DAY_MS)
        await ledger.report("young", ["a"], now_ms=DAY_MS)
        assert await ledger.forget(now_ms=KEPT_MS + 1) == 1
        assert await ledger.standings("old") == {"b": Standing("unknown")}
        assert await ledger.standings("young") == {"a": Standing("reported", "sent")}


async def test_nothing_to_claim_is_nothing(database_url: str) -> None:
    async with Ledger(database_url, group="effects") as ledger:
        assert await ledger.claim("e", [], now_ms=0) == {}
        await ledger.report("e", [], now_ms=0)
        assert await ledger.standings("e") == {}


async def test_an_outcome_is_written_though_the_database_fails_at_first(database_url: str) -> None:
    class Stumbling(Ledger):
        failures = 0

        def _commit(self, operations: Sequence[Operation]) -> list[Any]:
            if self.failures:
                self.failures -= 1
                raise OSError("the disk is full")
            return super()._commit(operations)

    async with Stumbling(database_url, group="effects") as ledger:
        await ledger.claim("e", ["a"], now_ms=0)
        ledger.failures = 2
        await ledger.settle("e", {"a": "sent"}, now_ms=1)
        assert await ledger.standings("e") == {"a": Standing("settled", "sent")}


async def test_it_forgets_by_itself(database_url: str) -> None:
    async with Ledger(database_url, group="effects") as ledger:
        await ledger.claim("old", ["a"], now_ms=0)
        await ledger.report("old", ["a"], now_ms=0)
    async with (
        Ledger(database_url, group="effects", now_ms=lambda: KEPT_MS + 1) as ledger,
        asyncio.timeout(10),
    ):
        while await ledger.standings("old"):
            pass


async def test_what_another_worker_is_at_is_waited_for(database_url: str) -> None:
    async with Ledger(database_url, group="effects") as one, Ledger(database_url, group="effects") as other:
        await one.claim("e", ["a"], now_ms=0)
        waiting = asyncio.create_task(other.claim("e", ["a", "b"], now_ms=1))
        async with asyncio.timeout(10):
            while set(await one.standings("e")) != {"a", "b"}:
                pass
        done, _ = await asyncio.wait({waiting}, timeout=3 * HELD_WAIT_MIN_S)
        assert not done
        await one.settle("e", {"a": "sent"}, now_ms=2)
        assert await asyncio.wait_for(waiting, 10) == {"a": Standing("settled", "sent"), "b": Standing("new")}
        assert await one.claim("e", ["a"], now_ms=3) == {"a": Standing("settled", "sent")}


async def test_what_a_worker_left_goes_to_another_one_when_its_lease_is_over(database_url: str) -> None:
    now_ms = 1_000
    async with (
        Ledger(database_url, group="effects", lease_ms=300_000, now_ms=lambda: now_ms) as gone,
        Ledger(database_url, group="effects", lease_ms=300_000, now_ms=lambda: now_ms) as other,
        Ledger(database_url, group="effects", lease_ms=300_000, now_ms=lambda: now_ms) as third,
    ):
        await gone.claim("e", ["a"], now_ms=0)
        waiting = asyncio.create_task(other.claim("e", ["a"], now_ms=1))
        done, _ = await asyncio.wait({waiting}, timeout=3 * HELD_WAIT_MIN_S)
        assert not done
        now_ms += 299_000
        await third.do(third._renewed)
        await other.do(other._renewed)
        done, _ = await asyncio.wait({waiting}, timeout=3 * HELD_WAIT_MIN_S)
        assert not done
        now_ms += 2_000
        assert await asyncio.wait_for(waiting, 10) == {"a": Standing("unknown")}
        done, _ = await asyncio.wait(
            {late := asyncio.create_task(third.claim("e", ["a"], now_ms=1))}, timeout=3 * HELD_WAIT_MIN_S
        )
        assert not done, "it has a new owner now"
        late.cancel()
        await asyncio.wait({late})


async def test_a_worker_that_stopped_in_order_or_has_come_back_leaves_nothing_to_wait_for(
    database_url: str,
) -> None:
    async with Ledger(database_url, group="effects") as ledger:
        await ledger.claim("e", ["a"], now_ms=0)
        await ledger.claim("f", ["a"], now_ms=0)
    async with (
        asyncio.timeout(10),
        Ledger(database_url, group="effects", owner="worker-1", lease_ms=300_000) as ledger,
    ):
        assert await ledger.claim("e", ["a"], now_ms=1) == {"a": Standing("unknown")}
        # Killed, it has no time to give its lease back; its next life has the same name.
        async with Ledger(database_url, group="effects", owner="worker-1", lease_ms=300_000) as again:
            assert await again.claim("e", ["a"], now_ms=1) == {"a": Standing("unknown")}


async def test_claims_of_a_time_without_owners_are_anybodys(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "ledger.db")
    database.execute(
        "CREATE TABLE effects (effect_id VARCHAR(160), target VARCHAR(160), state VARCHAR(16), outcome TEXT, "
        "changed_ms BIGINT, PRIMARY KEY (effect_id, target))"
    )
    database.execute("INSERT INTO effects VALUES ('e', 'a', 'claimed', NULL, 0)")
    database.commit()
    database.close()
    async with Ledger(url(tmp_path), group="effects") as ledger:
        assert await ledger.claim("e", ["a", "b"], now_ms=1) == {
            "a": Standing("unknown"),
            "b": Standing("new"),
        }


async def test_a_database_of_a_newer_version_is_used_as_it_is(database_url: str) -> None:
    """During a rolling upgrade, and on the way back: what came is a column that may be empty, and a table."""
    async with Ledger(database_url, group="effects", owner="newer", now_ms=lambda: 4) as newer:
        await newer.do(
            lambda connection: [
                connection.execute(text(statement))
                for statement in (
                    "ALTER TABLE effects ADD COLUMN next INTEGER",
                    "CREATE TABLE next (id INTEGER)",
                )
            ]
        )
        async with Ledger(database_url, group="effects", owner="older", now_ms=lambda: 4) as older:
            assert await older.claim("e", ["a"], now_ms=1) == {"a": Standing("new")}
            await older.settle("e", {"a": "sent"}, now_ms=2)
            await older.report("e", ["a"], now_ms=3)
        assert await newer.claim("e", ["a"], now_ms=4) == {"a": Standing("reported", "sent")}


async def test_another_consumer_group_needs_a_database_of_its_own(database_url: str) -> None:
    async with Ledger(database_url, group="chat-notifier"):
        pass
    with pytest.raises(
        WorkerFailed, match="the consumer group chat-notifier; this worker is of chat-crm-sync"
    ):
        async with Ledger(database_url, group="chat-crm-sync"):
            pass


async def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkerFailed, match="CHAT_LEDGER_URL"):
        async with Ledger(url(tmp_path / "file"), group="effects"):
            pass


async def test_a_database_that_cannot_be_used_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(WorkerFailed, match="CHAT_LEDGER_URL"):
        async with Ledger(url(tmp_path), group="effects"):
            pass
