"""What is measured against what: each a program in processes of its own, which reads topics as a consumer group.

One rule: all are started, watched and stopped in the same way, and are told nothing but where Kafka is and what to read.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.day import PARTITIONS
from schemas.topics import EVENTS, NOTICES, ROUTER_STATE, ROUTING, TRANSCRIPT_STATE, TRANSCRIPTS
from services.local import processes
from services.local.files import last_words, tail
from services.local.processes import Process

ROOT = Path(__file__).parent.parent
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PLAIN_OUT = "bench.plain"
COUNTS_OUT = "bench.counts"
_STOP_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """A program: how it is run, its settings, what it reads, and the topics it must find empty.

    `warm_up`: the share of the input after which it is measured.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = (EVENTS,)
    empty: tuple[str, ...] = ()
    processes: int = 1
    warm_up: float = 0.05


def _python(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module)


def plain(*inputs: str) -> Contender:
    """Return the plain loop over these topics."""
    environment = {"CHAT_INPUTS": json.dumps(inputs), "CHAT_OUTPUT": PLAIN_OUT}
    return Contender("plain loop", _python("bench.plain"), environment, inputs)


ROUTER = Contender("router", _python("services.router.worker"), empty=(ROUTER_STATE, ROUTING, NOTICES))
TWO_ROUTERS = replace(ROUTER, name="two routers", processes=2, warm_up=0.25)
ASSEMBLER = Contender(
    "transcript assembler",
    _python("bench.assembler"),
    {"CHAT_LINK_SECRET": "of this bench only: its links lead nowhere"},
    inputs=(EVENTS, ROUTING),
    empty=(TRANSCRIPT_STATE, TRANSCRIPTS),
)


def _peer(name: str, program: str, *, warm_up: float) -> Contender:
    return Contender(name, (str(PEERS_PYTHON), str(ROOT / "bench" / "peers" / program)), warm_up=warm_up)


QUIXSTREAMS = _peer("quixstreams", "quixstreams_count.py", warm_up=0.05)
FAUST = _peer("Faust", "faust_count.py", warm_up=0.01)


def cpu_s(pid: int) -> float:
    """Return the processor time a process has taken so far, in user and kernel mode (from Linux's /proc)."""
    ticks = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


class Ended(Exception):
    """A contender's process has ended by itself."""


@dataclass(frozen=True, slots=True)
class Running:
    """A contender's processes."""

    contender: Contender
    group: str
    programs: tuple[Process, ...]
    log: Path

    def cpu_s(self) -> tuple[float, ...]:
        """Return the processor time each process has taken so far. Raises Ended when one is gone."""
        if any(program.poll() is not None for program in self.programs):
            raise Ended(f"{self.contender.name} has ended: {last_words(tail(self.log))}")
        return tuple(cpu_s(program.pid) for program in self.programs)


@contextmanager
def started(contender: Contender, *, bootstrap: str, group: str, folder: Path) -> Iterator[Running]:
    """Run the contender in `folder` as this consumer group."""
    own = folder / f"{group}-{time.monotonic_ns()}"
    own.mkdir()
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT),
        "CHAT_BOOTSTRAP": bootstrap,
        "CHAT_GROUP": group,
        "CHAT_HTTP_PORT": "0",
        "CHAT_LOG_LEVEL": "WARNING",
        "BENCH_INPUT": EVENTS,
        "BENCH_OUTPUT": COUNTS_OUT,
        "BENCH_PARTITIONS": str(PARTITIONS),
        **contender.environment,
    }
    log = own / "log"
    programs = tuple(
        processes.spawn(contender.command, environment=environment, folder=own, output=log)
        for _ in range(contender.processes)
    )
    try:
        yield Running(contender, group, programs, log)
    finally:
        processes.stop(programs, grace_s=_STOP_LIMIT_S)
