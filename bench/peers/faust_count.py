"""A peer: a Faust agent with a table counts the records of each workspace and writes each new count; at least once.

One rule: nothing but what its documentation shows; the settings are its own, where it is not said here why another is better for it.
"""

import os

os.environ["FAUST_LOOP"] = "uvloop"  # read when it is imported

import faust

app = faust.App(
    os.environ["CHAT_GROUP"],
    broker="kafka://" + os.environ["CHAT_BOOTSTRAP"],
    store="memory://",  # the fastest table; its changelog in Kafka is written as with any other
    topic_partitions=int(os.environ["BENCH_PARTITIONS"]),  # a table has as many as its input
    topic_replication_factor=1,
    web_enabled=False,
    datadir="data",
)
events = app.topic(os.environ["BENCH_INPUT"], key_type=str, key_serializer="raw", value_serializer="json")
counts = app.topic(os.environ["BENCH_OUTPUT"], key_type=str, key_serializer="raw", value_serializer="json")
table = app.Table("counts", default=int)


@app.agent(events)
async def count(stream: faust.StreamT) -> None:
    """Count one record after another; the table is keyed by the workspace."""
    async for event in stream.events():
        number = table[event.key] + 1
        table[event.key] = number
        await counts.send(key=event.key, value={"count": number})


if __name__ == "__main__":
    faust.Worker(app, loglevel="WARN").execute_from_commandline()
