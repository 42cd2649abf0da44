"""The kinds of faults, and the plan of a batch: which of them befall whom, in which order, and for how long.

The one rule: a plan follows from its seed alone, so a run can be repeated. It has two lanes that go on side by side: brokers
fail one after another, each when all replicas are in sync again, while workers and their network fail meanwhile.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import accumulate
from random import Random
from threading import Event
from time import monotonic

from tests.faults.network import Action, AtCommit
from tests.faults.stage import (
    BROKERS,
    HOSTS,
    IO_LIMIT_S,
    LIMIT_S,
    PARTITIONS,
    SESSION_S,
    STATES,
    Stage,
    name_of,
)
from tests.local.programs import eventually


class Kind(StrEnum):
    """What can go wrong."""

    START = "start a host's workers"
    STOP = "stop a host's workers (SIGTERM)"
    KILL = "kill -9 a worker"
    SUSPEND = "suspend a worker past its session"
    SUSPEND_IN_COMMIT = "suspend a host's workers in a commit"
    STOP_BROKER = "stop a broker (SIGTERM)"
    KILL_BROKER = "kill -9 a broker"
    STALL = "stall a host's network"
    CUT = "cut a host's network"
    LATE = "late answers to a host"
    STALL_COMMIT = "stall a commit before the broker"
    LOSE_ANSWER = "lose a commit's answer"
    CUT_AFTER_COMMIT = "cut a host's network after a commit"


_SCALING = (Kind.START, Kind.START, Kind.STOP, Kind.STOP)
"""Hosts go 1 → 2 → 3 → 2 → 1."""
_OF_BROKERS = frozenset({Kind.STOP_BROKER, Kind.KILL_BROKER})
_NEEDS_SUCCESSOR = frozenset({Kind.SUSPEND, Kind.SUSPEND_IN_COMMIT, Kind.STALL})
"""These last until others have taken over, so there must be others."""
_PAUSE_S = (0.2, 1.5)
_LASTS_S: Mapping[Kind, tuple[float, float]] = {
    Kind.KILL: (0.0, 2.0),
    Kind.SUSPEND: (0.2, 2.0),
    Kind.SUSPEND_IN_COMMIT: (0.2, 2.0),
    Kind.STOP_BROKER: (0.5, 4.0),
    Kind.KILL_BROKER: (0.5, 6.0),
    Kind.STALL: (0.2, 2.0),
    Kind.CUT: (0.5, 8.0),
    Kind.LATE: (2.0, 6.0),
    Kind.STALL_COMMIT: (IO_LIMIT_S, IO_LIMIT_S + 3.0),
    Kind.LOSE_ANSWER: (IO_LIMIT_S, IO_LIMIT_S + 3.0),
    Kind.CUT_AFTER_COMMIT: (0.5, 4.0),
}
_DELAY_MS = (100, 1_500)
"""How late answers are: a commit of several calls passes its limit now and then."""
_AT_COMMIT: Mapping[Kind, AtCommit] = {
    Kind.STALL_COMMIT: AtCommit.STALL,
    Kind.LOSE_ANSWER: AtCommit.LOSE_ANSWER,
    Kind.CUT_AFTER_COMMIT: AtCommit.CUT_AFTER,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `victim` names a worker, or numbers a host or a broker; `pause_s` is the quiet time before it."""

    kind: Kind
    victim: str
    pause_s: float
    lasts_s: float
    delay_ms: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What befalls the brokers and, at the same time, the workers; `brokers` and `workers` each in order."""

    brokers: tuple[Fault, ...]
    workers: tuple[Fault, ...]


def plan(counts: Mapping[Kind, int], *, rng: Random) -> Plan:
    """Draw order, victims and durations of so many faults of each kind; of `START` and `STOP`, two for each round."""
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    of_brokers = [kind for kind in kinds if kind in _OF_BROKERS]
    rng.shuffle(of_brokers)
    return Plan(
        tuple(_drawn(kind, str(rng.randint(1, BROKERS)), rng) for kind in of_brokers),
        tuple(_of_workers(kinds, rng)),
    )


def _of_workers(kinds: list[Kind], rng: Random) -> Iterator[Fault]:
    """Give the scaling steps in their order, and in the gaps between them the rest, where it is possible."""
    steps = list(_SCALING) * (kinds.count(Kind.START) // _SCALING.count(Kind.START))
    gaps: list[list[Kind]] = [[] for _ in range(len(steps) + 1)]
    hosts_up = list(accumulate((1 if step is Kind.START else -1 for step in steps), initial=1))
    for kind in kinds:
        if kind not in _OF_BROKERS and kind not in _SCALING:
            least = 2 if kind in _NEEDS_SUCCESSOR else 1
            rng.choice([gap for gap, up in zip(gaps, hosts_up, strict=True) if up >= least]).append(kind)
    up = {0}
    for gap, step in zip(gaps, [None, *steps], strict=True):
        if step is not None:
            host = rng.choice(sorted(up if step is Kind.STOP else set(range(HOSTS)) - up))
            up ^= {host}
            yield _drawn(step, str(host), rng)
        rng.shuffle(gap)
        for kind in gap:
            host = rng.choice(sorted(up))
            alone = kind in (Kind.KILL, Kind.SUSPEND)
            victim = name_of(rng.choice(sorted(STATES)), host) if alone else str(host)
            yield _drawn(kind, victim, rng)


def _drawn(kind: Kind, victim: str, rng: Random) -> Fault:
    return Fault(
        kind,
        victim,
        pause_s=rng.uniform(*_PAUSE_S),
        lasts_s=rng.uniform(*_LASTS_S.get(kind, (0.0, 0.0))),
        delay_ms=rng.randint(*_DELAY_MS),
    )


class Faults:
    """Carries faults out on a stage. `abort`, once set, ends every wait that is a mere matter of time."""

    def __init__(self, stage: Stage, abort: Event) -> None:
        self._stage = stage
        self._abort = abort

    def befall(self, fault: Fault) -> str:
        """Carry one fault out; return what came of it, when it is over. Raises AssertionError when it did not happen."""
        match fault.kind:
            case Kind.STOP_BROKER | Kind.KILL_BROKER:
                return self._broker_down(fault)
            case Kind.KILL | Kind.SUSPEND:
                return self._alone(fault)
            case _:
                return self._of_host(fault, [name_of(service, int(fault.victim)) for service in STATES])

    def _broker_down(self, fault: Fault) -> str:
        kafka, number = self._stage.kafka, int(fault.victim)
        (kafka.stop_broker if fault.kind is Kind.STOP_BROKER else kafka.kill_broker)(number)
        self._abort.wait(fault.lasts_s)
        kafka.start_broker(number)
        began_s = monotonic()
        self._stage.await_in_sync()
        return f"down for {fault.lasts_s:.1f} s, in sync {monotonic() - began_s:.1f} s after its return"

    def _alone(self, fault: Fault) -> str:
        if fault.kind is Kind.SUSPEND:
            self._stage.suspend(fault.victim)
            return self._until_succeeded([fault.victim], fault, end=self._stage.wake)
        self._stage.kill(fault.victim)
        self._abort.wait(fault.lasts_s)
        self._stage.start(fault.victim)
        return f"started again after {fault.lasts_s:.1f} s"

    def _of_host(self, fault: Fault, names: list[str]) -> str:
        network, host = self._stage.network, int(fault.victim)
        match fault.kind:
            case Kind.START:
                self._each(names, self._stage.start)
                return "started"
            case Kind.STOP:
                return f"exit codes {[self._stage.stop(name) for name in names]}"
            case Kind.SUSPEND_IN_COMMIT:
                self._meet_commit(host, partial(self._each, names, self._stage.suspend))
                return self._until_succeeded(names, fault, end=self._stage.wake)
            case Kind.STALL:
                network.stall(host)
                return self._until_succeeded(names, fault, end=lambda _: network.heal(host))
            case Kind.CUT:
                network.cut(host)
            case Kind.LATE:
                network.late(host, fault.delay_ms)
            case _:
                self._meet_commit(host, _AT_COMMIT[fault.kind])
        self._abort.wait(fault.lasts_s)
        network.heal(host)
        return f"healed after {fault.lasts_s:.1f} s"

    def _meet_commit(self, host: int, action: Action) -> None:
        met = self._stage.network.at_commit(host, action)
        self._await(met.is_set, what="a commit came by")

    def _until_succeeded(self, names: list[str], fault: Fault, *, end: Callable[[str], None]) -> str:
        """End a fault after the workers' session, when others own all partitions."""
        began_s = monotonic()
        try:
            self._abort.wait(SESSION_S + fault.lasts_s)
            for service in {name.rpartition("-")[0] for name in names}:
                self._await(partial(self._others_own_all, service, names), what="others have taken over")
        finally:
            self._each(names, end)
        return f"taken over by others, ended after {monotonic() - began_s:.1f} s"

    @staticmethod
    def _each(names: list[str], do: Callable[[str], None]) -> None:
        for name in names:
            do(name)

    def _others_own_all(self, service: str, names: list[str]) -> bool:
        return len(self._stage.owned(service, without=names)) == PARTITIONS

    def _await(self, condition: Callable[[], bool], *, what: str) -> None:
        def holds() -> bool:
            self._stage.tend()
            return condition()

        eventually(holds, what=what, limit_s=LIMIT_S)
