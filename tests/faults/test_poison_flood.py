"""A flood of records nobody can read: the router stops, and says why, before it has drained the topic; nothing good is lost.

The one rule: what stands in the dead-letter topic is judged partition by partition against what was published: a beginning
of it, once each and in order, and never more than the limit.
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import pytest

from schemas import codec
from schemas.events import ChatRequested, Visitor
from schemas.topics import EVENTS, dead_letters
from services.local.partitions import partition_of
from services.local.publishing import Publisher, wall_ms
from services.local.supervisor import Worker
from services.local.topic_log import TopicLog
from tests.faults.judgement import drain, judge
from tests.faults.stage import LIMIT_S, PARTITIONS, POLL_INTERVAL_S, Stage

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(600)]

WORKSPACES = list(
    {partition_of(name, partitions=PARTITIONS): name for name in map("flooded-{}".format, range(60))}.values()
)
"""One for each partition."""
SPRINKLED, FLOOD, LETTERS_MAX = 2, 40, 60
"""The limit is above what one partition's flood adds, and far below what all of them would, side by side."""
GOOD_EVERY = 10
LIMITED, RAISED = "router-0", "router-1"


class FloodedStage(Stage):
    """One router under two settings: host 1's is host 0's, started again with a raised limit."""

    def _worker(self, service: str, host: int, port: int) -> Worker:
        worker = super()._worker(service, host, port)
        letters_max = (LETTERS_MAX, 1_000_000)[host]
        settings = {
            "CHAT_DEAD_LETTERS_PER_MINUTE_MAX": str(letters_max),
            "CHAT_INSTANCE_ID": f"{service}-0",
        }
        return replace(worker, environment={**worker.environment, **settings})

    def await_end(self, name: str) -> tuple[int, str]:
        """Return exit code and reason of a worker that ends by itself."""
        ends_s = monotonic() + LIMIT_S
        while name in self._supervisor.pids:
            assert monotonic() < ends_s, "the worker goes on"
            sleep(POLL_INTERVAL_S)
        (failed,) = self.entries(name, "worker_failed")
        return self.stop(name), str(failed["reason"])


def request(chat_id: str, workspace_id: str) -> bytes:
    asked = ChatRequested(chat_id=chat_id, channel="web", question="?", visitor=Visitor("v"))
    return codec.encode(
        asked, event_id=f"r-{chat_id}", source="/tests", at_ms=wall_ms(), workspace_id=workspace_id
    )


async def publish(bootstrap: str, *, poison: int, name: str) -> None:
    """Publish so much poison for every workspace, in turn, and good requests in between."""
    async with Publisher(bootstrap) as publisher:
        for number in range(poison):
            for workspace_id in WORKSPACES:
                if number % GOOD_EVERY == 0:
                    await publisher.send(
                        workspace_id.encode(), request(f"{workspace_id}-{name}-{number}", workspace_id)
                    )
                await publisher.send(workspace_id.encode(), f"{name} {number} of {workspace_id}".encode())


async def letters(bootstrap: str) -> tuple[dict[int, list[bytes]], dict[int, list[bytes]]]:
    """Return the dead letters and the poison, by partition, as they stand."""
    topic = dead_letters(EVENTS)
    async with TopicLog(bootstrap, (EVENTS, topic)) as log:
        await log.catch_up()
        poison = {
            number: [r.value for r in log.of(EVENTS, number) if r.value and not r.value.startswith(b"{")]
            for number in log.partitions_of(EVENTS)
        }
        found = {number: [r.value or b"" for r in log.of(topic, number)] for number in poison}
    return found, poison


def test_a_flood_stops_the_router_before_the_topic_is_drained(tmp_path: Path) -> None:
    with FloodedStage(tmp_path, brokers=1, hosts=2) as stage:
        stage.start(LIMITED)
        stage.start("transcript-0")
        stage.await_ready(LIMITED)
        asyncio.run(publish(stage.bootstrap, poison=SPRINKLED, name="sprinkled"))
        asyncio.run(drain(stage))
        assert stage.stop(LIMITED) == 0
        asyncio.run(publish(stage.bootstrap, poison=FLOOD, name="flood"))
        stage.start(LIMITED)
        code, reason = stage.await_end(LIMITED)
        assert code == 1
        assert f"(limit: {LETTERS_MAX})" in reason
        assert "CHAT_DEAD_LETTERS_PER_MINUTE_MAX" in reason

        found, poison = asyncio.run(letters(stage.bootstrap))
        for number, refused in found.items():
            assert refused == poison[number][: len(refused)]
        assert len(WORKSPACES) == PARTITIONS
        assert 0 <= sum(map(len, found.values())) - PARTITIONS * SPRINKLED <= LETTERS_MAX

        stage.start(RAISED)
        asyncio.run(drain(stage))
        found, poison = asyncio.run(letters(stage.bootstrap))
        assert found == poison
        assert sum(map(len, found.values())) == PARTITIONS * (SPRINKLED + FLOOD)
        for name in stage.running:
            assert stage.stop(name) == 0
        judged = asyncio.run(judge(stage))
        assert judged.wrong == []
        assert stage.ended == []
