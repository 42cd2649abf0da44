"""From the append of an event to its decision being readable, at a steady 2,000 events a second on 12 partitions.

One rule: the same publisher, the same reader and the same events for router and plain loop, in turns; both start caught up, and
what is timed are the events the router has something to decide about.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from statistics import quantiles

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from bench.contender import PLAIN_OUT, ROUTER, plain, started
from bench.rows import Row
from schemas import codec
from schemas import events as e
from schemas.topics import EVENTS, PARTITIONS_DEFAULT, ROUTING, TOPICS, Topic
from services.local.kafka import EmbeddedKafka
from services.local.partitions import partition_of
from services.local.topics import ensure_topics

EVENTS_PER_S = 2_000
BURST_EVENTS = 10
"""Sent together, 200 times a second."""
WARM_UP_S, TIMED_S = 4.0, 6.0
ROUNDS = 2
RATIO_MAX = 1.5
DRAIN_LIMIT_S = 60.0
READ_WAIT_MS = 50
WORKSPACES_PER_PARTITION, AGENTS, CHATS_PER_AGENT, MESSAGES = 2, 10, 50, 3
DEPARTMENT = "support"


@dataclass(frozen=True, slots=True)
class Sent:
    """An event as it is published; `timed`: the router decides something about it."""

    workspace_id: str
    event_id: str
    data: e.Event
    timed: bool = False


def measure(report: Callable[[str], None]) -> list[Row]:
    """Return the ratios of both latencies, and the latencies. `report` is told what is going on."""
    contenders = {"plain loop": (plain(EVENTS), PLAIN_OUT), "router": (ROUTER, ROUTING)}
    found: dict[str, list[float]] = {name: [] for name in contenders}
    with EmbeddedKafka() as kafka, tempfile.TemporaryDirectory() as folder:
        topics = (*TOPICS, Topic(PLAIN_OUT))
        asyncio.run(ensure_topics(kafka.bootstrap, partitions=PARTITIONS_DEFAULT, topics=topics))
        conversations = _conversations()
        for number in range(ROUNDS):
            for name, (contender, output) in contenders.items():
                report(f"timing the {name} at {EVENTS_PER_S:,} events/s, {number + 1} of {ROUNDS}")
                with started(
                    contender, bootstrap=kafka.bootstrap, group=f"latency-{name[:5]}", folder=Path(folder)
                ):
                    found[name] += uvloop.run(_round(kafka.bootstrap, output, conversations))
    at = {name: quantiles(ms, n=100) for name, ms in found.items()}
    (plain_at, router_at) = at.values()
    return [
        Row(
            "append to decision readable, 50th percentile: router / plain loop",
            router_at[49] / plain_at[49],
            "×",
            RATIO_MAX,
        ),
        Row(
            "append to decision readable, 99th percentile: router / plain loop",
            router_at[98] / plain_at[98],
            "×",
            RATIO_MAX,
        ),
        *(
            Row(f"append to decision readable, {nth}th percentile: {name}", values[nth - 1], "ms")
            for name, values in at.items()
            for nth in (50, 99)
        ),
    ]


def _name(partition: int, number: int) -> str:
    names = (f"latency-{partition}-{number}-{attempt}" for attempt in count())
    return next(name for name in names if partition_of(name, partitions=PARTITIONS_DEFAULT) == partition)


def _conversations() -> Iterator[Sent]:
    """Give settings, then chats without end: asked for, assigned at once, three messages, ended."""
    names = [_name(lane, n) for n in range(WORKSPACES_PER_PARTITION) for lane in range(PARTITIONS_DEFAULT)]
    numbers = count()

    def sent(workspace_id: str, data: e.Event, *, timed: bool = False) -> Sent:
        return Sent(workspace_id, f"latency-{next(numbers)}", data, timed)

    agents = tuple(f"agent-{n}" for n in range(AGENTS))
    for name in names:
        yield sent(name, e.WorkspaceConfigured(name))
        for agent in agents:
            yield sent(name, e.AgentConfigured(agent, agent, max_chats=CHATS_PER_AGENT))
            yield sent(name, e.AgentPresence(agent, "online"))
        yield sent(
            name,
            e.DepartmentConfigured(DEPARTMENT, "Support", agent_ids=agents, routing=e.Routing(mode="auto")),
        )
    for number in count():
        chats = {name: f"{name}-{number}" for name in names}
        for name, chat in chats.items():
            asked = e.ChatRequested(
                chat, "web", "Where is my order?", e.Visitor(f"visitor-{chat}"), DEPARTMENT
            )
            yield sent(name, asked, timed=True)
        for turn in range(MESSAGES):
            for name, chat in chats.items():
                text = "It was due on Monday, and nothing has come."
                yield sent(name, e.ChatMessage(chat, f"{chat}-{turn}", e.Sender("visitor"), text))
        for name, chat in chats.items():
            yield sent(name, e.ChatEndRequested(chat, e.By("visitor")), timed=True)


async def _round(bootstrap: str, output: str, conversations: Iterator[Sent]) -> list[float]:
    """Return the ms of each timed event, once the program that is running has caught up and is warm."""
    readable_ms: dict[str, float] = {}
    consumer = AIOKafkaConsumer(
        output, bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="latest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    async with consumer, producer:
        for at in consumer.assignment():
            await consumer.position(at)  # from here on nothing is missed
        reading = asyncio.create_task(_read(consumer, readable_ms))
        try:
            await _publish(producer, conversations, seconds=WARM_UP_S, readable_ms=readable_ms)
            appended = await _publish(producer, conversations, seconds=TIMED_S, readable_ms=readable_ms)
        finally:
            reading.cancel()
    return [readable_ms[event_id] - at_ms for event_id, at_ms in appended.items()]


async def _read(consumer: AIOKafkaConsumer, readable_ms: dict[str, float]) -> None:
    """Note when what follows from an event can first be read; the plain loop's record is the event itself."""
    while True:
        pages = await consumer.getmany(timeout_ms=READ_WAIT_MS)
        now_ms = time.time() * 1000
        for records in pages.values():
            for record in records:
                told = orjson.loads(record.value)
                cause = told["data"].get("cause")
                readable_ms.setdefault(told["id"] if cause is None else cause.get("event_id"), now_ms)


async def _publish(
    producer: AIOKafkaProducer,
    conversations: Iterator[Sent],
    *,
    seconds: float,
    readable_ms: Mapping[str, float],
) -> dict[str, int]:
    """Publish at a steady pace, wait until all is answered, and return when the broker appended the timed events, in ms."""
    began_s = time.monotonic()
    deliveries: dict[str, asyncio.Future[RecordMetadata]] = {}
    for burst in range(int(seconds * EVENTS_PER_S / BURST_EVENTS)):
        for sent in islice(conversations, BURST_EVENTS):
            value = codec.encode(
                sent.data,
                event_id=sent.event_id,
                source="/bench",
                at_ms=int(time.time() * 1000),
                workspace_id=sent.workspace_id,
            )
            delivery = await producer.send(EVENTS, value, key=sent.workspace_id.encode())
            if sent.timed:
                deliveries[sent.event_id] = delivery
        await asyncio.sleep(max(0.0, began_s + (burst + 1) * BURST_EVENTS / EVENTS_PER_S - time.monotonic()))
    appended = {event_id: (await delivery).timestamp for event_id, delivery in deliveries.items()}
    deadline_s = time.monotonic() + DRAIN_LIMIT_S
    while missing := len(appended.keys() - readable_ms.keys()):
        if time.monotonic() > deadline_s:
            raise TimeoutError(
                f"{missing} of {len(appended)} events had no answer within {DRAIN_LIMIT_S:g} s"
            )
        await asyncio.sleep(READ_WAIT_MS / 1000)
    return appended
