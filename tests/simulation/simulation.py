"""One simulated run: a phase with faults, in which every commit is judged, then one without, in which it must converge.

One rule: the seed is the run. Whatever a failure prints can be had again by `python -m tests.simulation SEED`.
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial

from structlog.testing import capture_logs

from services.runtime.metrics import Metrics
from tests.runtime.memory import At, Broker
from tests.simulation.group import SESSION_S, Coordinator
from tests.simulation.judge import Judge
from tests.simulation.scenarios import LASTS_S, Published, counting, routing
from tests.simulation.workers import Host
from tests.simulation.world import FATES, Faults, Violation, World

HOSTS = 3
ROUTER_EVERY = 16
"""One seed in so many runs the router, the others the counting worker, which is quicker."""
SETTLES_WITHIN_S = 3.0
"""The last records are published, and the last transactions of publishers ended, within so long."""
CONVERGES_WITHIN_S = 90.0
"""Fencings and lost requests of the first phase may each cost a session time-out, then the backlog is processed."""
STOPS_WITHIN_S = 30.0
_METRICS = Metrics()
"""One for all runs: nobody judges them, and making them would take a tenth of the time."""
TRACE_LINES_SHOWN = 60
ERRORS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to: a violation, or none; what was injected; what happened, line by line."""

    seed: int
    violation: str | None
    happened: Counter[str]
    commits: int
    trace: tuple[tuple[float, str, str, str], ...]
    errors: tuple[str, ...]
    """The last ones the workers logged."""

    @property
    def holds(self) -> bool:
        """Whether there was no violation."""
        return self.violation is None

    def brief(self) -> "Outcome":
        """The outcome without its trace, unless somebody has to look at that."""
        return replace(self, trace=()) if self.holds else self

    def explain(self, *, whole: bool = False) -> str:
        """What happened, all or the last of it, for whoever has to find the cause of a failure."""
        shown = self.trace if whole else self.trace[-TRACE_LINES_SHOWN:]
        told = [f"{at_s:10.4f}  {who:12} {what} {how}" for at_s, who, what, how in shown]
        ended = (
            f"seed {self.seed}: {self.violation or 'holds'}; again: python -m tests.simulation {self.seed}"
        )
        return "\n".join([*told, *self.errors, ended])


class Simulation:
    """A world with its broker, hosts and judge."""

    def __init__(self, seed: int, host: type[Host] = Host, *, router: bool | None = None) -> None:
        self.world = World(seed)
        rng = self.world.rng
        self.broker = Broker(now_ms=self.world.now_ms)
        with_router = seed % ROUTER_EVERY == 0 if router is None else router
        self.job, self.script = (routing if with_router else counting)(rng)
        self.judge = Judge(self.broker, self.job)
        coordinator = Coordinator(self.world, self.job.partitions)
        self.hosts = [
            host(number, self.world, self.broker, coordinator, self.job, _METRICS) for number in range(HOSTS)
        ]

    def run(self) -> Outcome:
        """Both phases, and what they came to."""
        world, violation = self.world, None
        with capture_logs() as logged:
            try:
                self._with_faults()
                self._without_faults()
                self.judge.close()
            except Violation as error:
                violation = str(error)
            finally:
                world.end()
        errors = [str(entry["error"]) for entry in logged if "error" in entry] if violation else []
        return Outcome(
            world.seed,
            violation,
            world.happened + Counter({"commits judged": self.judge.commits}),
            self.judge.commits,
            tuple(world.trace),
            tuple(errors[-ERRORS_SHOWN:]),
        )

    # ------------------------------------------------------------ phase 1: safety

    def _with_faults(self) -> None:
        world, rng = self.world, self.world.rng
        kinds = tuple(rng.sample(FATES, rng.randint(1, len(FATES))))
        world.faults = Faults(rng.choice((0.01, 0.03, 0.06)), kinds)
        for number, published in enumerate(self.script):
            world.after(published.at_s, partial(self._publish, published, f"publisher-{number}"))
        for host in self.hosts[: rng.randint(1, HOSTS)]:
            host.start()
        for _ in range(rng.randint(0, 12)):
            world.after(rng.uniform(0, LASTS_S), partial(self._disturb, rng.choice(self.hosts)))
        world.run(limit_s=LASTS_S, until=lambda: False)

    def _publish(self, what: Published, owner: str) -> None:
        at = (what.topic, what.partition)
        if not what.in_transaction:
            for row in what.rows:
                self.broker.append(at, row)
            return
        epoch = self.broker.init(owner)
        self.broker.produce(owner, epoch, at, what.rows)
        self.world.after(what.lasts_s, partial(self.broker.finish, owner, epoch, committed=not what.aborted))

    def _disturb(self, host: Host) -> None:
        rng = self.world.rng
        match rng.randrange(7):
            case 0:
                host.crash()
            case 1:
                host.suspend(rng.uniform(0, 3 * SESSION_S))
            case 2:
                host.deafen(rng.uniform(0, 3 * SESSION_S))
            case 3:
                host.stop()
            case 4 | 5:
                host.start()
            case _:
                self._compact()

    def _compact(self) -> None:
        rng = self.world.rng
        for number in range(self.job.partitions):
            at = (self.job.changelog, number)
            self.broker.compact(at, rng.randint(0, self.broker.end(at)))
        self.world.note("broker", "changelog", "compacted")

    # ------------------------------------------------------------ phase 2: liveness

    def _without_faults(self) -> None:
        world = self.world
        world.faults = Faults()
        for host in self.hosts:
            host.start()
        self._watch()
        world.run(limit_s=SETTLES_WITHIN_S, until=lambda: False)
        ends = self.judge.ends()
        if not world.run(limit_s=CONVERGES_WITHIN_S, until=lambda: self._converged(ends)):
            left = self.judge.behind(ends), self.broker.open_transactions
            raise Violation(f"it does not converge: {left}")
        for host in self.hosts:
            host.stop()
        if not world.run(
            limit_s=STOPS_WITHIN_S, until=lambda: all(host.alive is None for host in self.hosts)
        ):
            raise Violation("a worker does not stop")

        # Who loses a partition in the moment of the stop leaves its transaction to the coordinator.
        self.broker.time_out()

    def _converged(self, ends: dict[At, int]) -> bool:
        return not self.judge.behind(ends) and not self.broker.open_transactions

    def _watch(self) -> None:
        """The condition is looked at after steps of the world: there is one every second."""
        self.world.after(1.0, self._watch)
