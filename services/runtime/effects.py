"""Calling the outside world: retries, the circuit of one downstream, and what a failure means.

    Unavailable  the downstream as a whole is away: Away, unless it says itself when it wants to be asked again
    Transient    this one effect failed for now: a few tries with backoff, then it is raised to the caller
    Unknown      a Transient that may have happened all the same: the caller decides how often it may be done again
    Refused      for good: raised at once
    Away         nothing is wrong with the effect, and nobody may wait here for it: raised at once, never given up

The one rule: while a circuit is open nobody waits here, since whoever waits holds a place that others need. `EffectsApp` keeps
what was turned away, and brings it again. The text of these exceptions is a code such as `smtp_550`, never what the other side said.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import time
from typing import Any, TypeVar

import stamina
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import CLOSED, OpenedState
from purgatory.service._async.circuitbreaker import AsyncCircuitBreaker

from services.runtime.logs import log
from services.runtime.metrics import Metrics
from services.runtime.tracing import calling

Result = TypeVar("Result")

RETRY_AFTER_MAX_S = 300.0
"""A longer Retry-After is cut to this, and then asked again."""
CLOCK_STEP_S = 0.01
BUSY_RETRY_S = 1.0
"""When to come again to a downstream that has all the callers it can take, or whose return is just being asked for."""
PARKED: ContextVar[bool] = ContextVar("parked", default=False)
"""Whether the record that is being handled was parked: then it holds no place that records of others need."""


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


class Away(Exception):
    """The downstream takes nothing now. What waits for it belongs into `queue`; `retry_s` is when to come again."""

    def __init__(self, queue: str, *, retry_s: float) -> None:
        super().__init__(f"away for {retry_s:.1f} s")
        self.queue = queue
        self.retry_s = retry_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How a downstream is treated; the defaults suit a CRM's API."""

    calls_max: int = 16
    callers_max: int = 128
    """Effects under way, their waits between tries included: more than a worker has slots, so that nobody is turned away in health."""
    call_ms_max: int = 30_000
    attempts_max: int = 6
    wait_initial_ms: int = 200
    wait_max_ms: int = 10_000
    wait_jitter_ms: int = 200
    failures_to_open: int = 5
    open_ms: int = 10_000


class Downstream:
    """One outside party, such as one SMTP server. `name` becomes a metric's label: it holds no address of a person.

    `queue` is where effects wait for it, its name by default; several parties may share a name.
    """

    def __init__(
        self, name: str, *, kind: str, limits: Limits, metrics: Metrics, queue: str | None = None
    ) -> None:
        quiet_retries()
        self.name = name
        self._queue = queue or name
        self._kind = kind
        self._limits = limits
        self._metrics = metrics
        self._log = log(__name__).bind(target=name)
        self._callers = 0
        self._calls = asyncio.Semaphore(limits.calls_max)
        self._probing = asyncio.Lock()
        self._away = False
        self._factory = AsyncCircuitBreakerFactory(
            default_threshold=limits.failures_to_open,
            default_ttl=limits.open_ms / 1000,
            exclude=[(BaseException, lambda error: not isinstance(error, Unavailable))],
        )
        self._factory.add_listener(self._changed)
        self._metrics.add("circuit_open", 0, target=name)

    def _changed(self, _circuit: str, what: str, change: Any) -> None:
        if what != "state_changed":
            return
        away = change.state != CLOSED
        if away != self._away:
            self._away = away
            self._metrics.add("circuit_open", 1 if away else -1, target=self.name)
            (self._log.warning if away else self._log.info)("circuit_open" if away else "circuit_closed")

    def retire(self) -> None:
        """Nobody calls it any more: its circuit is no longer told of. Calls under way go on."""
        if self._away:
            self._metrics.add("circuit_open", -1, target=self.name)
        self._factory.remove_listener(self._changed)

    async def call(self, do: Callable[[], Awaitable[Result]]) -> Result:
        """What `do` returns, which may be called many times. Raises Transient after its tries, Refused and Away at once."""
        if self._callers >= self._limits.callers_max:
            raise Away(self._queue, retry_s=BUSY_RETRY_S)
        self._callers += 1
        try:
            return await self._retried(_transient, lambda: self._reached(do))
        finally:
            self._callers -= 1

    async def _reached(self, do: Callable[[], Awaitable[Result]]) -> Result:
        try:
            return await self._retried(_told_to_wait, lambda: self._through_circuit(do))
        except Unavailable as failure:
            self._log.info("downstream_unavailable", code=failure.code)
            raise Away(self._queue, retry_s=self._limits.wait_initial_ms / 1000) from None

    async def _retried(
        self, on: Callable[[Exception], bool | timedelta], do: Callable[[], Awaitable[Result]]
    ) -> Result:
        limits = self._limits
        tries = stamina.retry_context(
            on=on,
            attempts=limits.attempts_max,
            timeout=None,
            wait_initial=limits.wait_initial_ms / 1000,
            wait_max=limits.wait_max_ms / 1000,
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
        try:
            if circuit.context.state == CLOSED:
                return await self._once(circuit, do)
            # One call at a time asks whether the downstream is back.
            if self._probing.locked():
                raise Away(self._queue, retry_s=BUSY_RETRY_S)
            async with self._probing:
                left_s = self._open_for_s(circuit)
                if left_s > 0:
                    raise Away(self._queue, retry_s=left_s)
                return await self._once(circuit, do)
        except OpenedState:  # it opened while this call was queueing
            raise Away(self._queue, retry_s=self._open_for_s(circuit)) from None

    def _open_for_s(self, circuit: AsyncCircuitBreaker) -> float:
        # purgatory reads the wall clock as well, and wants more than the open time to have passed.
        until_s = (circuit.context.opened_at or 0) + self._limits.open_ms / 1000 + CLOCK_STEP_S
        return max(0.0, until_s - time())

    async def _once(self, circuit: AsyncCircuitBreaker, do: Callable[[], Awaitable[Result]]) -> Result:
        loop = asyncio.get_running_loop()
        async with self._calls:
            self._metrics.add("effects_in_flight", kind=self._kind)
            started_s = loop.time()
            try:
                async with circuit:
                    return await self._answered(do)
            finally:
                self._metrics.add("effects_in_flight", -1, kind=self._kind)
                self._metrics.observe("effect_seconds", loop.time() - started_s, kind=self._kind)

    async def _answered(self, do: Callable[[], Awaitable[Result]]) -> Result:
        with calling(self._kind, target=self.name):
            try:
                async with asyncio.timeout(self._limits.call_ms_max / 1000):
                    return await do()
            except TimeoutError:
                raise Unavailable("timeout") from None


class Downstreams:
    """A downstream for each workspace of one service, made when first asked for: one customer's account that is away is one circuit.

    As many are kept as there are workspaces that use the service.
    """

    def __init__(self, name: str, *, kind: str, limits: Limits, metrics: Metrics) -> None:
        self._make = partial(Downstream, name, kind=kind, limits=limits, metrics=metrics)
        self._name = name
        self._made: dict[str, Downstream] = {}

    def of(self, workspace_id: str) -> Downstream:
        """Return the workspace's own."""
        made = self._made.get(workspace_id)
        if made is None:
            made = self._made[workspace_id] = self._make(queue=f"{self._name}/{workspace_id}")
        return made


def _transient(error: Exception) -> bool | timedelta:
    return isinstance(error, Transient) and (_retry_after(error) or True)


def _told_to_wait(error: Exception) -> bool | timedelta:
    return isinstance(error, Unavailable) and (_retry_after(error) or False)


def _retry_after(error: Unavailable | Transient) -> timedelta | None:
    """How long the other side wants to be left alone, where it has said so."""
    if error.retry_after_s is None:
        return None
    return timedelta(seconds=min(error.retry_after_s, RETRY_AFTER_MAX_S))


def quiet_retries() -> None:
    """Takes away stamina's own reports: they quote arguments and exceptions, which hold personal data."""
    stamina.instrumentation.set_on_retry_hooks(())
