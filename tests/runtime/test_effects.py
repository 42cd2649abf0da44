"""How a downstream's failures are met: retries, the circuit, and giving up."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from services.runtime.effects import Downstream, Limits, Refused, Transient, Unavailable
from services.runtime.metrics import Metrics

QUICK = Limits(
    attempts_max=3,
    wait_initial_ms=1,
    wait_max_ms=2,
    wait_jitter_ms=0,
    failures_to_open=2,
    open_ms=60,
    calls_max=4,
)


def failing(*failures: Exception | None) -> tuple[Callable[[], Awaitable[str]], list[int]]:
    """Return an effect that meets these failures in turn and then succeeds, and the list of its calls."""
    calls: list[int] = []

    async def do() -> str:
        calls.append(len(calls))
        failure = failures[len(calls) - 1] if len(calls) <= len(failures) else None
        if failure is not None:
            raise failure
        return "done"

    return do, calls


def downstream(metrics: Metrics | None = None, limits: Limits = QUICK) -> Downstream:
    return Downstream("sink", kind="mail", limits=limits, metrics=metrics or Metrics())


async def test_a_transient_failure_is_tried_again() -> None:
    metrics = Metrics()
    do, calls = failing(Transient("smtp_451"), Transient("smtp_451"))
    assert await downstream(metrics).call(do) == "done"
    assert len(calls) == 3
    assert metrics.value("effect_retries_total", kind="mail") == 2
    assert metrics.value("effects_in_flight", kind="mail") == 0


async def test_a_transient_failure_is_given_up_after_its_tries_and_opens_no_circuit() -> None:
    metrics = Metrics()
    do, calls = failing(*[Transient("smtp_451")] * 9)
    target = downstream(metrics)
    for _ in range(3):
        with pytest.raises(Transient, match="smtp_451"):
            await target.call(do)
    assert len(calls) == 9
    assert metrics.value("circuit_open", target="sink") == 0


async def test_however_patient_a_caller_is_it_sees_soon_that_the_downstream_is_back() -> None:
    loop = asyncio.get_running_loop()
    patient = replace(QUICK, wait_initial_ms=60_000, wait_max_ms=60_000, wait_away_ms=1)
    do, calls = failing(Unavailable("timeout"), Unavailable("timeout"))
    started_s = loop.time()
    assert await downstream(limits=patient).call(do) == "done"
    assert len(calls) == 3
    assert loop.time() - started_s < 30


async def test_a_refusal_is_final() -> None:
    do, calls = failing(Refused("smtp_550"))
    with pytest.raises(Refused):
        await downstream().call(do)
    assert len(calls) == 1


async def test_the_other_sides_waiting_time_is_kept() -> None:
    loop = asyncio.get_running_loop()
    do, _calls = failing(Transient("http_429", retry_after_s=0.1))
    started_s = loop.time()
    assert await downstream().call(do) == "done"
    assert loop.time() - started_s >= 0.1


async def test_while_the_circuit_is_open_callers_wait_and_none_is_dropped() -> None:
    metrics = Metrics()
    target = downstream(metrics)
    away = True
    calls = 0

    async def do() -> str:
        nonlocal calls
        calls += 1
        if away:
            raise Unavailable("refused")
        return "done"

    waiting = [asyncio.create_task(target.call(do)) for _ in range(10)]
    async with asyncio.timeout(10):
        while metrics.value("circuit_open", target="sink") != 1:  # noqa: ASYNC110  a gauge has no event
            await asyncio.sleep(0.001)
        before = calls
        await asyncio.sleep(5 * QUICK.open_ms / 1000)
        # Only probes got through, one for each time the circuit was open.
        assert calls - before <= 8
        assert not any(task.done() for task in waiting)
        away = False
        assert await asyncio.gather(*waiting) == ["done"] * 10
    assert metrics.value("circuit_open", target="sink") == 0


async def test_a_call_that_hangs_counts_as_unavailable() -> None:
    hung = 0

    async def do() -> str:
        nonlocal hung
        hung += 1
        if hung == 1:
            await asyncio.sleep(60)
        return "done"

    target = downstream(limits=Limits(call_ms_max=20, wait_initial_ms=1, wait_jitter_ms=0))
    assert await target.call(do) == "done"
    assert hung == 2
