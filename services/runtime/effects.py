"""Calling the outside world: retries, the circuit of one downstream, and what a failure means.

    Unavailable  the downstream as a whole is away: tries go on, first with backoff, then as the circuit allows; never given up
    Transient    this one effect failed for now: a few tries with backoff, then it is raised to the caller
    Unknown      a Transient that may have happened all the same: the caller decides how often it may be done again
    Refused      for good: raised at once

The one rule: while a circuit is open callers wait here, so that lag grows and nothing is dropped; only being cancelled
ends the wait. The text of these exceptions is a code such as `smtp_550`, never what the other side said.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from time import time
from typing import Any, TypeVar

import stamina
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import CLOSED, OpenedState
from purgatory.service._async.circuitbreaker import AsyncCircuitBreaker

from services.runtime.logs import log
from services.runtime.metrics import Metrics

Result = TypeVar("Result")

RETRY_AFTER_MAX_S = 300.0
"""A longer Retry-After is cut to this, and then asked again."""
CLOCK_STEP_S = 0.01


class EffectFailure(Exception):
    """A failure with a code that may be logged and reported."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Unavailable(EffectFailure):
    """The downstream as a whole does not answer, or says it is down."""

    def __init__(self, code: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(code)
        self.retry_after_s = retry_after_s


class Transient(EffectFailure):
    """An effect failed for now; the downstream is there."""

    def __init__(self, code: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(code)
        self.retry_after_s = retry_after_s


class Unknown(Transient):
    """The other side had all it needed, and its answer never came."""


class Refused(EffectFailure):
    """The downstream does not want this effect, and will not want it later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How a downstream is treated; the defaults suit a CRM's API."""

    calls_max: int = 16
    call_ms_max: int = 30_000
    attempts_max: int = 6
    wait_initial_ms: int = 200
    wait_max_ms: int = 10_000
    wait_away_ms: int = 10_000
    """Longest wait while the downstream as a whole is away, so that a patient caller still sees at once that it is back."""
    wait_jitter_ms: int = 200
    failures_to_open: int = 5
    open_ms: int = 10_000


class Downstream:
    """One outside party, such as one SMTP server. `name` becomes a metric's label: it holds no address of a person."""

    def __init__(self, name: str, *, kind: str, limits: Limits, metrics: Metrics) -> None:
        quiet_retries()
        self.name = name
        self._kind = kind
        self._limits = limits
        self._metrics = metrics
        self._log = log(__name__).bind(target=name)
        self._calls = asyncio.Semaphore(limits.calls_max)
        self._probing = asyncio.Lock()
        self._away = False
        self._factory = AsyncCircuitBreakerFactory(
            default_threshold=limits.failures_to_open,
            default_ttl=limits.open_ms / 1000,
            exclude=[(BaseException, lambda error: not isinstance(error, Unavailable))],
        )
        self._factory.add_listener(self._changed)
        self._metrics.set("circuit_open", 0, target=name)

    def _changed(self, _circuit: str, what: str, change: Any) -> None:
        if what != "state_changed":
            return
        away = change.state != CLOSED
        self._metrics.set("circuit_open", away, target=self.name)
        if away != self._away:
            self._away = away
            (self._log.warning if away else self._log.info)("circuit_open" if away else "circuit_closed")

    async def call(self, do: Callable[[], Awaitable[Result]]) -> Result:
        """What `do` returns, which may be called many times. Raises Transient after its tries, Refused at once."""
        return await self._retried(Transient, self._limits.wait_max_ms, lambda: self._reached(do))

    async def _reached(self, do: Callable[[], Awaitable[Result]]) -> Result:
        wait_max_ms = min(self._limits.wait_max_ms, self._limits.wait_away_ms)
        while True:
            try:
                return await self._retried(Unavailable, wait_max_ms, lambda: self._through_circuit(do))
            except Unavailable as failure:
                # The tries are used up, but the effect is not given up: the circuit paces what follows.
                self._log.info("downstream_unavailable", code=failure.code)

    async def _retried(
        self, on: type[Unavailable | Transient], wait_max_ms: int, do: Callable[[], Awaitable[Result]]
    ) -> Result:
        limits = self._limits
        tries = stamina.retry_context(
            on=lambda error: isinstance(error, on) and _backoff(error),
            attempts=limits.attempts_max,
            timeout=None,
            wait_initial=limits.wait_initial_ms / 1000,
            wait_max=wait_max_ms / 1000,
            wait_jitter=limits.wait_jitter_ms / 1000,
        )
        async for attempt in tries:
            if attempt.num > 1:
                self._metrics.add("effect_retries", kind=self._kind)
            with attempt:
                return await do()
        raise AssertionError("stamina returns or raises")

    async def _through_circuit(self, do: Callable[[], Awaitable[Result]]) -> Result:
        circuit = await self._factory.get_breaker(self.name)
        while True:
            try:
                if circuit.context.state == CLOSED:
                    return await self._once(circuit, do)
                # One call at a time asks whether the downstream is back; the others queue behind it.
                async with self._probing:
                    if circuit.context.state != CLOSED:
                        await self._opened_long_enough(circuit)
                        return await self._once(circuit, do)
            except OpenedState:
                continue  # it opened while this call was queueing

    async def _opened_long_enough(self, circuit: AsyncCircuitBreaker) -> None:
        # purgatory reads the wall clock as well, and wants more than the open time to have passed.
        until_s = (circuit.context.opened_at or 0) + self._limits.open_ms / 1000 + CLOCK_STEP_S
        await asyncio.sleep(max(0.0, until_s - time()))

    async def _once(self, circuit: AsyncCircuitBreaker, do: Callable[[], Awaitable[Result]]) -> Result:
        loop = asyncio.get_running_loop()
        async with self._calls:
            self._metrics.add("effects_in_flight", kind=self._kind)
            started_s = loop.time()
            try:
                async with circuit:
                    try:
                        async with asyncio.timeout(self._limits.call_ms_max / 1000):
                            return await do()
                    except TimeoutError:
                        raise Unavailable("timeout") from None
            finally:
                self._metrics.add("effects_in_flight", -1, kind=self._kind)
                self._metrics.observe("effect_seconds", loop.time() - started_s, kind=self._kind)


def _backoff(error: Unavailable | Transient) -> bool | float | timedelta:
    """How long to wait before the next try, where the other side has said so."""
    if error.retry_after_s is None:
        return True
    return min(error.retry_after_s, RETRY_AFTER_MAX_S)


def quiet_retries() -> None:
    """Takes away stamina's own reports: they quote arguments and exceptions, which hold personal data."""
    stamina.instrumentation.set_on_retry_hooks(())
