"""How many records a second, each contender on the same input and broker, in turns.

One rule: the best round of each counts, since whatever else runs on the machine only ever makes a round slower.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import contender
from bench.contender import Contender, Ended
from bench.rows import Row
from bench.stage import Measured, Stage, TooSlow
from schemas.topics import EVENTS, ROUTING
from services.runtime.ports import InputRecord

ROUNDS, ASSEMBLER_ROUNDS, FAUST_ROUNDS = 3, 2, 2
PEER_WINDOW_S = 15.0
SHARE_MIN = 0.2
"""Each of two routers must have done so much of the work, or they were not two."""

PLAIN, PLAIN_PAIR = contender.plain(EVENTS), contender.plain(EVENTS, ROUTING)
ROUTER, TWO_ROUTERS, ASSEMBLER = contender.ROUTER, contender.TWO_ROUTERS, contender.ASSEMBLER
QUIXSTREAMS, FAUST = contender.QUIXSTREAMS, contender.FAUST


class _Rounds:
    """All rounds so far; a peer's failure is kept and told, ours is raised."""

    def __init__(self, stage: Stage, report: Callable[[str], None]) -> None:
        self._stage = stage
        self._report = report
        self._rounds: dict[Contender, list[Measured]] = {}
        self.failures: dict[Contender, str] = {}

    def run(self, *contenders: Contender) -> None:
        for each in contenders:
            self._report(f"running: {each.name}")
            is_peer = each in (QUIXSTREAMS, FAUST)
            try:
                measured = self._stage.run(each, **({"window_s": PEER_WINDOW_S} if is_peer else {}))
            except (Ended, TooSlow, OSError) as error:
                if not is_peer:
                    raise
                self.failures[each] = str(error)
            else:
                self._rounds.setdefault(each, []).append(measured)

    def rate(self, each: Contender) -> float:
        return max(measured.rate for measured in self._rounds[each])

    def cpu_us(self, each: Contender) -> float:
        return min(measured.cpu_us for measured in self._rounds[each])

    def least_share(self, each: Contender) -> float:
        return min(min(measured.cpu_s) / sum(measured.cpu_s) for measured in self._rounds[each])


def measure(log: Sequence[InputRecord], report: Callable[[str], None]) -> list[Row]:
    """Return the ratios, and the speeds they are made of. `report` is told what is going on."""
    report("starting Kafka and filling the topic")
    with tempfile.TemporaryDirectory() as folder, Stage(log, Path(folder)) as stage:
        rounds = _Rounds(stage, report)
        for _ in range(ROUNDS):
            rounds.run(PLAIN, ROUTER, TWO_ROUTERS, QUIXSTREAMS)
        for _ in range(ASSEMBLER_ROUNDS):
            rounds.run(PLAIN_PAIR, ASSEMBLER)
        for _ in range(FAUST_ROUNDS):
            rounds.run(FAUST)
    assert rounds.least_share(TWO_ROUTERS) > SHARE_MIN, "one of two routers was idle"
    ours = rounds.rate(ROUTER)
    return [
        Row("router / plain loop", ours / rounds.rate(PLAIN), "×", 0.30, at_least=True),
        _against(QUIXSTREAMS, rounds, bound=2.0),
        _against(FAUST, rounds, bound=25.0),
        Row(
            "transcript assembler / plain loop",
            rounds.rate(ASSEMBLER) / rounds.rate(PLAIN_PAIR),
            "×",
            0.40,
            at_least=True,
        ),
        Row("cpu of two routers / one", rounds.cpu_us(TWO_ROUTERS) / rounds.cpu_us(ROUTER), "×", 1.1),
        *_speeds(rounds),
    ]


def _against(peer: Contender, rounds: _Rounds, *, bound: float) -> Row:
    """Return the ratio to a peer; one that could not be run is a row that says so and keeps no bound."""
    if peer in rounds.failures:
        why = rounds.failures[peer].splitlines()[-1]
        return Row(f"router / {peer.name}: NOT MEASURED, {why}", 0.0, "×", bound, at_least=True)
    return Row(f"router / {peer.name}", rounds.rate(ROUTER) / rounds.rate(peer), "×", bound, at_least=True)


def _speeds(rounds: _Rounds) -> list[Row]:
    measured = {
        "plain loop": PLAIN,
        "router": ROUTER,
        "plain loop over both inputs of the assembler": PLAIN_PAIR,
        "transcript assembler": ASSEMBLER,
        "two routers": TWO_ROUTERS,
        "quixstreams": QUIXSTREAMS,
        "Faust": FAUST,
    }
    return [
        row
        for name, each in measured.items()
        if each not in rounds.failures
        for row in (
            Row(name, rounds.rate(each), "records/s"),
            Row(f"{name}, processor time of its processes", rounds.cpu_us(each), "µs/record"),
        )
    ]
