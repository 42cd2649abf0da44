"""What happens in the input logs of a simulation: records, holes, aborted batches, and a small day of the router.

One rule: a scenario is drawn from the seed before anything runs; only ticks and the moments of appending are the run's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from random import Random

from schemas import codec
from schemas import events as e
from schemas.topics import EVENTS, ROUTER_STATE
from services.router.processor import RouterProcessor
from services.runtime.broker import Row
from tests.runtime.counting import POISON, SILENT, UNKNOWN, Counting
from tests.simulation.workers import Job

LASTS_S = 15.0
WORKSPACES = ("acme", "beta", "cafe")


@dataclass(frozen=True, slots=True)
class Published:
    """Rows that are appended at a moment; `aborted` and `lasts_s` are of those written in a transaction."""

    at_s: float
    topic: str
    partition: int
    rows: tuple[Row, ...]
    in_transaction: bool = False
    aborted: bool = False
    lasts_s: float = 0.0


def traced(value: bytes) -> tuple[tuple[str, bytes], ...]:
    """The trace context that every other record carries; what follows from it must carry it, too."""
    digest = sha256(value).hexdigest()
    return (("traceparent", f"00-{digest[:32]}-{digest[32:48]}-00".encode()),) if digest < "8" else ()


def counting(rng: Random) -> tuple[Job, list[Published]]:
    """The counting worker: one or two input topics, written plainly and in transactions, some of them aborted."""
    inputs = ("in-a", "in-b") if rng.random() < 0.3 else ("in-a",)
    job = Job(inputs, "state", 3, lambda _partition: Counting("out"))

    def rows(topic: str) -> Iterator[Row]:
        for _ in range(rng.randint(1, 4)):
            value = (
                rng.choice((SILENT, POISON, UNKNOWN)) if rng.random() < 0.1 else b"%d" % rng.getrandbits(20)
            )
            yield Row(f"{topic}-{rng.randint(0, 3)}".encode(), value, traced(value))

    script: list[Published] = []
    for _ in range(rng.randint(10, 40)):
        topic = rng.choice(inputs)
        script.append(
            Published(
                rng.uniform(0, LASTS_S),
                topic,
                rng.randrange(job.partitions),
                tuple(rows(topic)),
                in_transaction=rng.random() < 0.3,
                aborted=rng.random() < 0.4,
                lasts_s=rng.choice((0.0, 0.1, 2.0)),
            )
        )
    return job, script


def routing(rng: Random) -> tuple[Job, list[Published]]:
    """The router: a small day of three workspaces on two partitions, some events published twice."""
    job = Job((EVENTS,), ROUTER_STATE, 2, RouterProcessor)
    script: list[Published] = []
    for number, workspace_id in enumerate(WORKSPACES):
        moments = sorted(rng.uniform(0, LASTS_S) for _ in _day(workspace_id))
        for at_s, value in zip(moments, _day(workspace_id), strict=True):
            row = Row(workspace_id.encode(), value, traced(value))
            times_s = (at_s, at_s + 1.0) if rng.random() < 0.1 else (at_s,)
            script += (Published(each_s, EVENTS, number % job.partitions, (row,)) for each_s in times_s)
    return job, script


@cache
def _day(workspace_id: str) -> tuple[bytes, ...]:
    """Chats that are assigned and answered, rung in vain, abandoned; the time-outs fire by ticks."""
    routing = e.Routing(mode="auto", wait_timeout_s=4.0, first_reply_timeout_s=3.0)
    ringing = e.Routing(offer_timeout_s=2.0, wait_timeout_s=5.0, decline_cooldown_s=1.0)
    visitor = e.Visitor(visitor_id="v")
    agent = e.Sender("agent", "ann")
    day: tuple[e.Event, ...] = (
        e.AgentConfigured("ann", "Ann", max_chats=2),
        e.AgentConfigured("bob", "Bob", max_chats=1),
        e.DepartmentConfigured("desk", "Desk", agent_ids=("ann", "bob"), routing=routing),
        e.DepartmentConfigured("ring", "Ring", agent_ids=("ann", "bob"), routing=ringing),
        e.AgentPresence("ann", "online"),
        e.ChatRequested("c1", "web", "How?", visitor, department_id="desk"),
        e.ChatMessage("c1", "m1", agent, "So."),
        e.ChatRequested("c2", "web", "How?", visitor, department_id="ring"),
        e.AgentPresence("bob", "online"),
        e.ChatRequested("c3", "web", "How?", visitor, department_id="desk"),
        e.ChatRequested("c4", "web", "How?", visitor, department_id="ring"),
        e.ChatEndRequested("c1", e.By("visitor")),
        e.ChatRequested("c5", "web", "How?", visitor, department_id="desk"),
        e.VisitorLeft("c4"),
        e.ChatMessage("c5", "m2", agent, "So."),
        e.AgentPresence("bob", "away"),
        e.ChatRequested("c6", "email", "How?", visitor, department_id="desk"),
        e.ChatMessage("c3", "m3", e.Sender("visitor"), "Anybody?"),
    )
    return tuple(
        codec.encode(
            event,
            event_id=f"e{number}",
            source="/tests",
            at_ms=round(datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1000),
            workspace_id=workspace_id,
        )
        for number, event in enumerate(day)
    )
