"""One partition's life over ports in memory: what is committed is right and once, whatever fails and wherever."""

from collections.abc import Iterable

import pytest
from pydantic import BaseModel

from schemas.stored import Damaged
from services.runtime.broker import Row
from services.runtime.failures import TaskCorrupted, TaskMigrated, WorkerFailed
from services.runtime.logs import explain
from services.runtime.partition_task import Phase
from services.runtime.ports import Change, InputRecord, OutputRecord
from tests.runtime.counting import BUG, POISON, SILENT, UNKNOWN, Counting
from tests.runtime.fakes import INPUT, OUTPUT, OWNER, PARTITION, STATE, Crash, Stage, plain_run

VALUES = [b"value%d" % number for number in range(10)]


def committed_state(stage: Stage) -> dict[bytes | None, bytes | None]:
    return {row.key: row.value for row in stage.broker.rows((STATE, PARTITION))}


async def test_outputs_changelog_and_offsets_are_one_transaction_a_batch() -> None:
    stage = Stage()
    stage.publish(*VALUES)
    await stage.task().run()
    assert stage.values(OUTPUT) == plain_run(VALUES)
    assert committed_state(stage) == {b"key0": b"4", b"key1": b"3", b"key2": b"3"}
    assert stage.offsets == {INPUT: 10}
    assert stage.wire.calls.count("commit") == 3
    assert stage.metrics.value("records_in_total", topic=INPUT, partition=str(PARTITION)) == 10
    assert stage.metrics.value("records_out_total", topic=OUTPUT, partition=str(PARTITION)) == 10
    assert stage.metrics.value("partitions_running") == 0


async def test_the_writer_is_started_before_anything_is_read() -> None:
    stage = Stage()
    stage.publish(*VALUES)
    await stage.task().run()
    assert [call for call in stage.wire.calls if not call.endswith(" done")][:4] == [
        "start",
        "committed?",
        "changelog",
        "changelog closed",
    ]


@pytest.mark.parametrize(
    "step", ["begin", "send out", "offsets", "deliver out done", "commit", "commit done"]
)
async def test_a_failure_anywhere_in_a_transaction_leads_to_a_restore_and_the_same_outputs(step: str) -> None:
    stage = Stage()
    stage.publish(*VALUES)
    stage.fail(step, TaskCorrupted("unknown outcome"))
    await stage.task().run()
    assert stage.values(OUTPUT) == plain_run(VALUES)
    assert stage.offsets == {INPUT: 10}
    assert len(stage.processors) == 2, "the state of the failed life is thrown away"
    assert stage.wire.calls.count("start") == stage.wire.calls.count("close") == 2
    assert stage.metrics.value("task_failures_total") == 1


async def test_a_batch_that_was_not_written_is_noticed_although_the_commit_would_succeed() -> None:
    stage = Stage()
    stage.publish(*VALUES)
    stage.fail("deliver out", TaskCorrupted("not written"))
    await stage.task().run()
    assert stage.values(OUTPUT) == plain_run(VALUES)
    assert stage.metrics.value("task_failures_total") == 1


async def test_a_record_too_large_for_its_topic_stops_the_worker_and_loses_nothing() -> None:
    stage = Stage()
    stage.publish(*VALUES)
    stage.fail("deliver out", WorkerFailed("a record is larger than the topic takes"))
    with pytest.raises(WorkerFailed, match="larger"):
        await stage.task().run()
    assert stage.offsets == {}
    assert stage.values(OUTPUT) == []


async def test_poison_becomes_a_dead_letter_in_the_transaction_of_its_batch() -> None:
    stage = Stage()
    values = [b"a", POISON, b"b", b"c"]
    stage.publish(*values)
    stage.fail("commit", TaskCorrupted("aborted"))
    await stage.task().run()
    assert stage.values(OUTPUT) == plain_run([b"a", SILENT, b"b", b"c"])
    assert list(stage.broker.rows(("in.dlq", PARTITION))) == [
        Row(
            b"key1",
            POISON,
            (
                ("__streams.errors.exception", b"Poison"),
                ("__streams.errors.message", b"not a number"),
                ("__streams.errors.topic", b"in"),
                ("__streams.errors.partition", b"%d" % PARTITION),
                ("__streams.errors.offset", b"1"),
            ),
        )
    ]
    assert stage.metrics.value("dead_letters_total", topic=INPUT) == 1


async def test_a_flood_of_poison_stops_the_worker_before_the_topic_is_drained() -> None:
    stage = Stage(dead_letters_max=5)
    stage.publish(*[POISON] * 12)
    with pytest.raises(WorkerFailed, match="CHAT_DEAD_LETTERS_PER_MINUTE_MAX"):
        await stage.task().run()
    assert len(stage.values("in.dlq")) == 4
    assert stage.offsets == {INPUT: 4}


async def test_an_unknown_type_is_counted_and_skipped() -> None:
    stage = Stage()
    stage.publish(b"a", UNKNOWN, b"b")
    await stage.task().run()
    assert len(stage.values(OUTPUT)) == 2
    assert stage.metrics.value("unknown_types_total") == 1
    assert stage.values("in.dlq") == []


async def test_a_state_that_cannot_be_read_stops_the_worker_at_once() -> None:
    class Newer(Counting):
        def restored(self) -> None:
            raise Damaged("a kind of value that this version does not know")

    stage = Stage()
    stage.publish(b"a")
    await stage.task().run()
    with pytest.raises(WorkerFailed, match=f"state partition {PARTITION} can't be read .*newer version"):
        await stage.task(lambda _: Newer(OUTPUT)).run()
    assert stage.wire.calls.count("start") == 2, "no restart can help"


async def test_a_bug_stops_the_worker_and_names_the_record_not_its_value() -> None:
    stage = Stage()
    stage.publish(b"a", BUG)
    with pytest.raises(WorkerFailed, match=f"in/{PARTITION} at offset 1 .* ZeroDivisionError"):
        await stage.task().run()
    assert len(stage.processors) == 3
    assert stage.offsets == {}


async def test_records_without_effect_open_no_transaction_until_the_interval_is_over() -> None:
    stage = Stage(idle_max=100)
    stage.publish(*[SILENT] * 3)
    await stage.task().run()
    assert stage.wire.calls.count("begin") == 1
    assert stage.wire.calls.count("take") > 10, "the commit came with the interval, not at once"
    assert stage.offsets == {INPUT: 3}


async def test_offsets_of_records_without_effect_are_committed_at_the_stop() -> None:
    stage = Stage()
    stage.publish(*[SILENT] * 3)
    await stage.task().run()
    assert stage.offsets == {INPUT: 3}


async def test_two_input_topics_are_one_unit() -> None:
    stage = Stage(topics=("in", "other"))
    stage.publish(b"a", b"b")
    stage.publish(b"c", b"d", b"e", topic="other")
    await stage.task().run()
    assert stage.offsets == {"in": 2, "other": 3}
    assert len(stage.values(OUTPUT)) == 5


async def test_a_restore_passes_holes_and_gives_the_latest_value_of_live_keys_only() -> None:
    seen: list[tuple[bytes, bytes]] = []

    class Recording(Counting):
        def restore(self, key: bytes, value: bytes) -> None:
            seen.append((key, value))

    stage = Stage()
    rows = [Row(b"a", b"1"), None, Row(b"b", b"1"), None, None, None, Row(b"a", b"2"), Row(b"c", b"1")]
    for row in (*rows, Row(b"b", None), None, None, None, Row(b"d", b"9"), None):
        stage.broker.append((STATE, PARTITION), row)
    await stage.task(lambda _partition: Recording(OUTPUT)).run()
    assert seen == [(b"a", b"2"), (b"c", b"1"), (b"d", b"9")]
    assert stage.metrics.value("restore_records_total") == 6


async def test_the_state_of_an_earlier_run_is_restored_before_the_first_record() -> None:
    stage = Stage()
    stage.publish(*VALUES[:5])
    await stage.task().run()
    stage.publish(*VALUES[5:])
    await stage.task().run()
    assert stage.values(OUTPUT) == plain_run(VALUES)


async def test_a_fenced_worker_stands_back_for_a_session_and_writes_nothing() -> None:
    stage = Stage()
    stage.publish(*VALUES[:2])
    task = stage.task()

    def somebody_else_takes_over(step: str) -> None:
        if step == "commit" and stage.wire.calls.count("commit") == 1:
            stage.broker.init(OWNER)

    stage.wire.fault = somebody_else_takes_over
    await task.run()
    assert stage.inputs is not None
    assert stage.inputs.waited_ms == [6_000]
    assert stage.wire.calls.index("reassigned") < stage.wire.calls.index("start", 1)
    assert stage.values(OUTPUT) == plain_run(VALUES[:2])
    assert stage.metrics.value("fences_total") == 1


async def test_repeated_fencing_ends_the_process() -> None:
    stage = Stage()
    stage.publish(*VALUES)
    stage.fail("commit", TaskMigrated("fenced"), times=99)
    with pytest.raises(WorkerFailed, match="CHAT_INSTANCE_ID"):
        await stage.task().run()
    assert stage.metrics.value("fences_total") == 3


async def test_fencings_long_ago_do_not_count() -> None:
    stage = Stage()
    stage.publish(*VALUES)
    stage.fail("commit", TaskMigrated("fenced"), times=5)
    original = stage.wire.fault

    def slowly(step: str) -> None:
        if step == "reassigned":
            stage.clock.now_s += 100
        original(step)

    stage.wire.fault = slowly
    await stage.task().run()
    assert stage.values(OUTPUT) == plain_run(VALUES)


async def test_failures_in_a_row_back_off_and_then_end_the_process() -> None:
    stage = Stage()
    stage.publish(*VALUES)
    stage.fail("start", TaskCorrupted("no answer in time"), times=99)
    with pytest.raises(WorkerFailed, match="6 times in a row"):
        await stage.task().run()
    assert stage.clock.slept_s == sorted(stage.clock.slept_s)
    assert len(stage.clock.slept_s) == 5


async def test_the_sentence_about_failures_in_a_row_quotes_no_record() -> None:
    class Number(BaseModel):
        number: int

    class Failing(Counting):
        def changes(self) -> Iterable[Change]:
            Number.model_validate({"number": "my phone is 12"})
            return super().changes()

    stage = Stage()
    stage.publish(*VALUES)
    with pytest.raises(WorkerFailed, match=r"the last time: ValidationError\.$") as failed:
        await stage.task(lambda _partition: Failing(OUTPUT)).run()
    assert "my phone is 12" in str(failed.value.__cause__), "the cause does quote it"
    assert "my phone is 12" not in str(explain(failed.value))


async def test_a_safe_reason_is_told_in_the_sentence_about_failures_in_a_row() -> None:
    stage = Stage()
    stage.fail("start", TaskCorrupted("chat-3: fencing: no answer in time"), times=99)
    with pytest.raises(WorkerFailed, match="TaskCorrupted: chat-3: fencing: no answer in time"):
        await stage.task().run()


@pytest.mark.parametrize("error", [TaskCorrupted("no answer in time"), TaskMigrated("fenced")])
async def test_a_failure_while_stopping_waits_for_nothing(error: Exception) -> None:
    stage = Stage()
    stage.publish(*VALUES)
    task = stage.task()

    def fail_after_the_stop(step: str) -> None:
        if step == "commit":
            task.stop()
            raise error

    stage.wire.fault = fail_after_the_stop
    await task.run()
    assert task.phase is Phase.STOPPED
    assert stage.wire.calls[-1] == "close done"
    assert stage.inputs is not None
    assert (stage.clock.slept_s, stage.inputs.waited_ms) == ([], [])


async def test_a_producer_that_can_not_be_closed_ends_the_process() -> None:
    stage = Stage()
    stage.publish(*VALUES)
    stage.fail("close", WorkerFailed("could not be closed"))
    with pytest.raises(WorkerFailed, match="closed"):
        await stage.task().run()


async def test_a_stopped_task_begins_no_new_life() -> None:
    stage = Stage()
    task = stage.task()
    task.stop()
    await task.run()
    assert task.phase is Phase.STOPPED
    assert stage.wire.calls == []


async def test_a_crash_at_any_step_changes_nothing_of_what_is_written() -> None:
    """Every step of a run in turn is the last one of a process; the next process finishes the work."""
    values = [*VALUES[:5], SILENT, *VALUES[5:], POISON, SILENT]
    expected = plain_run([value if value != POISON else SILENT for value in values])
    crashes = 0
    while True:
        stage = Stage()
        stage.publish(*values)
        left = crashes

        def fault(_step: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crash

        stage.wire.fault = fault
        try:
            await stage.task().run()
            break
        except Crash:
            stage.wire.fault = lambda _step: None
            await stage.task().run()
        assert stage.values(OUTPUT) == expected, f"crash at step {crashes}"
        assert stage.values("in.dlq") == [POISON]
        assert stage.offsets == {INPUT: len(values)}
        crashes += 1
    assert crashes > 40


async def test_deciding_sees_nothing_of_a_failed_life() -> None:
    """The processor of a failed life has counted further than what is committed; the next must not see that."""

    class Observed(Counting):
        first: dict[bytes, int] | None = None

        def process(self, record: InputRecord) -> Iterable[OutputRecord]:
            if self.first is None:
                self.first = dict(self.counts)
            return super().process(record)

        def changes(self) -> Iterable[Change]:
            return super().changes()

    made: list[Observed] = []

    def factory(_partition: int) -> Observed:
        made.append(Observed(OUTPUT))
        return made[-1]

    stage = Stage()
    stage.publish(*VALUES)
    stage.fail("commit", TaskCorrupted("aborted"))
    await stage.task(factory).run()
    assert [each.first for each in made] == [{}, {}]
