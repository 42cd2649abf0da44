"""The ledger of effects on SQLite files."""

from pathlib import Path

from services.runtime.ledger import DAY_MS, KEPT_MS, Ledger, Standing


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
