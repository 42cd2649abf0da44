"""A peer: quixstreams, exactly once, counts the records of each workspace and writes each new count.

One rule: nothing but what its documentation shows; the settings are its own, where it is not said here why another is better for it.
"""

import os

from quixstreams import Application, State


def count(_: object, state: State) -> dict[str, int]:
    """Count one record; the state is the workspace's, which is the key."""
    number = state.get("count", 0) + 1
    state.set("count", number)
    return {"count": number}


def main() -> None:
    """Run until SIGTERM."""
    app = Application(
        broker_address=os.environ["CHAT_BOOTSTRAP"],
        consumer_group=os.environ["CHAT_GROUP"],
        processing_guarantee="exactly-once",
        auto_offset_reset="earliest",
        state_dir="state",
        # 5 s by default: too few commits to time a round by. It takes no more processor time for each record with 1 s.
        commit_interval=1.0,
        loglevel="WARNING",
    )
    events = app.topic(os.environ["BENCH_INPUT"], key_deserializer="str", value_deserializer="json")
    counts = app.topic(os.environ["BENCH_OUTPUT"], key_serializer="str", value_serializer="json")
    app.dataframe(events).apply(count, stateful=True).to_topic(counts)
    app.run()


if __name__ == "__main__":
    main()
