"""A worker goes on only from state that was made with as many partitions as there are; on Kafka, and as its commits say it."""

from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

from services.runtime.failures import WorkerFailed
from services.runtime.kafka import KafkaWriter
from services.runtime.partition_count import commits_of, counts_of, missing
from services.runtime.settings import RuntimeSettings

TOPIC, STATE, GROUP = "counted.in", "counted.state", "counted"


@pytest.mark.parametrize(
    ("metadata", "counts"),
    [
        ((), set()),
        (("", ""), set()),
        (("6", "", "6"), {6}),
        (("6", "12"), {6, 12}),
        (("of another tool",), set()),
    ],
)
def test_commits_say_with_how_many_partitions_they_were_made(
    metadata: tuple[str, ...], counts: set[int]
) -> None:
    assert counts_of(metadata) == counts


@dataclass
class Group:
    """A consumer of the group that has joined nothing."""

    settings: RuntimeSettings

    async def commits(self, *, partitions: int) -> dict[TopicPartition, int]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.bootstrap, group_id=GROUP, enable_auto_commit=False
        )
        await consumer.start()
        try:
            return await commits_of(consumer, group=GROUP, topics=(TOPIC,), partitions=partitions)
        finally:
            await consumer.stop()


@pytest.mark.kafka
async def test_state_that_was_made_with_fewer_partitions_is_refused_with_the_way_out(kafka: str) -> None:
    settings = RuntimeSettings(bootstrap=kafka, group=GROUP)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 2, 1) for name in (TOPIC, STATE)])
        group = Group(settings)
        assert await group.commits(partitions=2) == {}
        writer, following = KafkaWriter(settings, 1, partitions=lambda: 2), KafkaWriter(settings, 1)
        await writer.start()
        await writer.begin()
        await writer.send_offsets({TOPIC: 5})
        await writer.commit()
        await following.start()  # as whoever takes over: from here on the commit is seen
        await following.close()
        await writer.close()
        assert await group.commits(partitions=2) == {TopicPartition(TOPIC, 1): 5}
        assert await missing(settings, (TOPIC, STATE)) == ""

        await admin.create_partitions({TOPIC: NewPartitions(4)})
        # Even who is given new partitions only, of which nothing was ever committed, must not begin in them.
        with pytest.raises(
            WorkerFailed, match=r"made with 2 partitions, and counted.in has 4: .*chat-routing grow"
        ):
            await group.commits(partitions=4)
        assert "must have the same number of partitions" in await missing(settings, (TOPIC, STATE))
        draining = RuntimeSettings(bootstrap=kafka, group=GROUP, drain_partitions=2)
        assert await missing(draining, (TOPIC, STATE)) == ""
    finally:
        await admin.close()
