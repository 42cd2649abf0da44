"""Topics are created as the contract has them; what exists is compared and left alone."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.topics import TOPICS, Topic
from services.local.errors import LocalError
from services.local.kafka import EmbeddedKafka
from services.local.ports import free_ports
from services.local.topic_log import TopicLog
from services.local.topics import Difference, ensure_topics

COMMAND = (str(Path(sys.executable).with_name("chat-routing")), "topics")


@pytest.mark.kafka
async def test_existing_topics_are_compared_and_left_alone(kafka: str) -> None:
    wanted = Topic("local.compared", {"cleanup.policy": "delete", "retention.ms": "1000"})
    assert (await ensure_topics(kafka, partitions=2, topics=(wanted,))).created == ("local.compared",)
    again = await ensure_topics(kafka, partitions=2, topics=(wanted,))
    assert (again.created, again.differences) == ((), ())

    other = Topic("local.compared", {"cleanup.policy": "compact", "retention.ms": "1000"})
    for _ in range(2):  # the first look changed nothing, so the second sees the same
        report = await ensure_topics(kafka, partitions=3, topics=(other,))
        assert report.differences == (
            Difference("local.compared", "partitions", wanted="3", found="2"),
            Difference("local.compared", "cleanup.policy", wanted="compact", found="delete"),
        )


@pytest.mark.kafka
async def test_a_refusal_of_the_broker_is_said_in_one_sentence(kafka: str) -> None:
    with pytest.raises(LocalError, match=r"refuses to create the topic local.refused: .*retention.ms.*\.$"):
        await ensure_topics(kafka, topics=(Topic("local.refused", {"retention.ms": "for ever"}),))


@pytest.mark.kafka
def test_the_command_creates_all_topics_and_exits_with_1_on_a_difference() -> None:
    with EmbeddedKafka() as kafka:
        at = ("--bootstrap", kafka.bootstrap)
        first = subprocess.run([*COMMAND, *at], capture_output=True, text=True, check=True)
        assert [line.split()[1] for line in first.stdout.splitlines() if line.startswith("created ")] == [
            topic.name for topic in TOPICS
        ]
        again = subprocess.run([*COMMAND, *at], capture_output=True, text=True, check=True)
        assert again.stdout == "All topics are as they should be.\n"
        different = subprocess.run(
            [*COMMAND, *at, "--partitions", "3"], capture_output=True, text=True, check=False
        )
        assert different.returncode == 1
        assert different.stdout.count("partitions") == len(TOPICS)


@pytest.mark.kafka
async def test_an_absent_topic_is_said_at_once_and_is_not_created(kafka: str) -> None:
    for _ in range(2):
        async with asyncio.timeout(30):
            with pytest.raises(LocalError, match=r"has no topic local\.absent: run `chat-routing topics`"):
                await TopicLog(kafka, ("local.absent",)).__aenter__()


def test_a_wrong_address_is_said_in_one_sentence() -> None:
    port = free_ports(1)[0]
    answer = subprocess.run(
        [*COMMAND, "--bootstrap", f"127.0.0.1:{port}"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 1
    assert answer.stderr == (
        f"No Kafka answers at 127.0.0.1:{port}: check the address, "
        "or leave --bootstrap out to use the embedded one.\n"
    )
