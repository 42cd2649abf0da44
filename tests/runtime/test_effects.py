"""How a downstream's failures are met: retries, the circuit, and giving up."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from services.runtime.effects import Away, Downstream, Downstreams, Limits, Refused, Transient, Unavailable
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


async def test_nobody_waits_for_a_downstream_that_is_away_unless_it_says_how_long() -> None:
    do, calls = failing(Unavailable("timeout"), Unavailable("http_429", retry_after_s=0.01))
    target = downstream(limits=replace(QUICK, failures_to_open=9))
    with pytest.raises(Away) as raised:
        await target.call(do)
    assert (raised.value.queue, raised.value.retry_s, len(calls)) == ("sink", 0.001, 1)
    assert await target.call(do) == "done"
    assert len(calls) == 3


async def test_beyond_its_callers_everybody_is_turned_away() -> None:
    target = downstream(limits=replace(QUICK, callers_max=5))
    answered = asyncio.Event()
    waiting = [asyncio.create_task(target.call(answered.wait)) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(Away):
        await target.call(answered.wait)
    answered.set()
    await asyncio.gather(*waiting)
    await target.call(answered.wait)


async def test_each_workspace_has_a_circuit_of_its_own_and_the_metric_counts_the_open_ones() -> None:
    metrics = Metrics()
    targets = Downstreams("crm", kind="crm", limits=QUICK, metrics=metrics)
    for number, workspace in enumerate(("acme", "bell"), start=1):
        do, calls = failing(*[Unavailable("refused")] * 9)
        for _ in range(3):
            with pytest.raises(Away) as raised:
                await targets.of(workspace).call(do)
        assert len(calls) == QUICK.failures_to_open
        assert raised.value.queue == f"crm/{workspace}"
        assert metrics.value("circuit_open", target="crm") == number
    do, _calls = failing()
    assert await targets.of("cobb").call(do) == "done"


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


async def patient(target: Downstream, do: Callable[[], Awaitable[str]]) -> str:
    """Come again as often as turned away."""
    while True:
        try:
            return await target.call(do)
        except Away as away:
            await asyncio.sleep(max(away.retry_s, 0.001))


async def test_while_the_circuit_is_open_callers_are_turned_away_and_one_asks_for_its_return() -> None:
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

    waiting = [asyncio.create_task(patient(target, do)) for _ in range(10)]
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
    with pytest.raises(Away):
        await target.call(do)
    assert await target.call(do) == "done"
    assert hung == 2
