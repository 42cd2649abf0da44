"""A router that is stopped anywhere and goes on from its changelog says what it would have said, byte for byte."""

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import codec
from schemas import decisions as d
from schemas import events as e
from schemas.envelope import PartitionEnvelope
from schemas.topics import EVENTS, NOTICES, ROUTING
from services.local import sample_day
from services.local.arrivals import built_in_curve
from services.local.rehearsal import Rehearsal
from services.router.changelog import Changelog
from services.router.core.partition import Entry, Partition
from services.router.core.seen import SEEN_MS
from services.router.processor import RouterProcessor
from services.runtime.ports import InputRecord, OutputRecord
from tests.router.happenings import Happening, days, play
from tests.router.scenes import Scene, office, value_of

DAY_S = SEEN_MS / 1000


def record_of(entry: Entry, value: bytes) -> InputRecord:
    workspace_id = getattr(entry.envelope, "workspaceid", None)
    key = str(entry.partition) if workspace_id is None else workspace_id
    return InputRecord(EVENTS, entry.partition, entry.offset, entry.at_ms, key.encode(), value, traced(entry))


def traced(entry: Entry) -> tuple[tuple[str, bytes], ...]:
    """The trace that every other event, ticks aside, is of."""
    if entry.offset % 2 or isinstance(entry.envelope, PartitionEnvelope):
        return ()
    return (("traceparent", f"00-{entry.offset + 1:032x}-{entry.offset + 1:016x}-01".encode()),)


def records_of(scene: Scene) -> list[InputRecord]:
    return [record_of(entry, value_of(entry)) for entry in scene.entries]


class Interrupted:
    """A processor that can be thrown away and built anew from what it had stored."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.processor = RouterProcessor(number)
        self.topic: dict[bytes, bytes] = {}

    def process(self, record: InputRecord) -> list[OutputRecord]:
        return list(self.processor.process(record))

    def commit(self) -> None:
        """A compacted topic: a later value stands behind everything earlier, None deletes."""
        for key, value in self.processor.changes():
            self.topic.pop(key, None)
            if value is not None:
                self.topic[key] = value

    def restart(self) -> None:
        self.processor = RouterProcessor(self.number)
        for key, value in self.topic.items():
            self.processor.restore(key, value)
        self.processor.restored()


def straight(records: list[InputRecord], number: int = 0) -> list[list[OutputRecord]]:
    processor = RouterProcessor(number)
    return [list(processor.process(record)) for record in records]


@settings(max_examples=80, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
@given(day=days)
def test_a_restart_after_every_record_changes_nothing(day: list[Happening]) -> None:
    records = records_of(play(Scene(ticks=True), day))
    router = Interrupted()
    outputs = []
    for record in records:
        outputs.append(router.process(record))
        router.commit()
        router.restart()
    assert outputs == straight(records)


@settings(max_examples=60, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
@given(day=days, batches=st.lists(st.integers(1, 20), min_size=1, max_size=10))
def test_batches_of_any_size_and_a_failure_after_each(day: list[Happening], batches: list[int]) -> None:
    """What was processed but not committed is processed again, from the state before it."""
    records = records_of(play(Scene(ticks=True), day))
    router = Interrupted()
    outputs: list[list[OutputRecord]] = []
    while len(outputs) < len(records):
        size = batches[len(outputs) % len(batches)]
        batch = records[len(outputs) : len(outputs) + size]
        for record in batch:
            router.process(record)
        router.restart()
        outputs += [router.process(record) for record in batch]
        router.commit()
    assert outputs == straight(records)


def test_the_sample_day_goes_on_from_its_changelog() -> None:
    day = sample_day.make(chats=80, seed=7, curve=built_in_curve(), day_ms=120_000, pace=20)
    rehearsal = Rehearsal(day, partitions=3, tick_interval_ms=500)
    records: dict[int, list[InputRecord]] = {}
    for rehearsed in rehearsal.run():
        records.setdefault(rehearsed.entry.partition, []).append(
            record_of(rehearsed.entry, rehearsed.envelope)
        )
    assert sum(len(outputs) for number in records for outputs in straight(records[number], number)) > 60
    for number, log in records.items():
        router = Interrupted(number)
        outputs = []
        for count, record in enumerate(log):
            outputs.append(router.process(record))
            router.commit()
            if count % 5 == 0:
                router.restart()
        assert outputs == straight(log, number)


def test_an_id_that_came_again_after_a_day_is_forgotten_at_its_own_time() -> None:
    scene = Scene(ticks=True)
    scene.say(e.AgentHeartbeat("ann"), event_id="first")
    scene.at(1).say(e.AgentHeartbeat("ann"), event_id="second")
    scene.at(DAY_S + 0.5).say(e.AgentHeartbeat("ann"), event_id="first")
    scene.at(DAY_S + 2).say(e.VisitorIpUnblocked("10.0.0.1", "nobody"), event_id="second")
    records = records_of(scene)
    assert len(straight(records)[3]) == 1
    router = Interrupted()
    for record in records[:2]:
        router.process(record)
    router.commit()
    router.process(records[2])
    router.commit()
    router.restart()
    assert router.process(records[3]) == straight(records)[3]


def test_seen_ids_leave_the_changelog_after_a_day() -> None:
    scene = Scene(ticks=True)
    for hour in range(30):
        scene.at(hour * 3600).say(e.AgentHeartbeat("ann"))
    router = Interrupted()
    for record in records_of(scene):
        router.process(record)
        router.commit()
    assert sum(1 for key in router.topic if key.startswith(b"seen/")) == 25


def test_a_forgotten_chat_leaves_the_changelog() -> None:
    scene = office("ann", ticks=True)
    scene.tick()
    scene.served("ann", "c1")
    scene.leave("c1")
    router = Interrupted()
    for record in records_of(scene):
        router.process(record)
    router.commit()
    assert b"chat/acme/c1" in router.topic
    offset = len(scene.entries)
    for _ in range(24 * 60 + 2):
        scene.wait(60)
        scene.tick(limit_ms=60_000)
    for record in records_of(scene)[offset:]:
        router.process(record)
    router.commit()
    assert b"chat/acme/c1" not in router.topic


def test_a_removed_agent_leaves_the_changelog_after_thirty_days_and_a_deleted_department_with_the_next() -> (
    None
):
    scene = office("ann")
    for department_id in ("sales", "other"):
        scene.department(id=department_id)
    for event in (e.AgentDeleted("ann"), e.DepartmentDeleted("sales"), e.DepartmentDeleted("other")):
        scene.say(event)
    topic = dict(Changelog(scene.partition).changes())
    assert topic[b"agent/acme/ann"] is not None
    assert topic[b"department/acme/sales"] is topic[b"rota/acme/sales"] is None
    restored = Partition(0, exact=True)
    changelog = Changelog(restored)
    for key, value in topic.items():
        if value is not None:
            changelog.restore(key, value)
    changelog.restored()
    assert {"sales", "other"} & restored.workspaces["acme"].departments.keys() == {"other"}
    restored.fire_due(scene.now_ms + 30 * 24 * 3600 * 1000)
    assert dict(changelog.changes())[b"agent/acme/ann"] is None
    assert not restored.workspaces["acme"].agents


def test_a_chat_that_outlives_who_served_it_names_only_whom_it_knows() -> None:
    scene = office("ann", "bob", offline_policy="keep")
    scene.served("ann", "c1")
    scene.say(e.AgentDeleted("ann"))
    scene.accept("bob", "c1")
    scene.wait(30 * 24 * 3600)
    assert [*scene.ws.agents] == ["bob"]
    assert scene.leave("c1") == ["closed c1: handled"]
    assert [agent.id for agent in scene.last(d.ChatClosed).agents] == ["bob"]


def test_keys_of_ids_with_slashes_do_not_run_together() -> None:
    router = Interrupted()
    for count, (workspace_id, agent_id) in enumerate([("a/b", "c"), ("a", "b/c"), ("a%2Fb", "c")]):
        scene = Scene(workspace_id)
        scene.agent(agent_id)
        record = records_of(scene)[0]
        router.process(InputRecord(EVENTS, 0, count, record.timestamp_ms, record.key, record.value))
    router.commit()
    router.restart()
    workspaces = router.processor.partition.workspaces
    assert {(name, *ws.agents) for name, ws in workspaces.items()} == {
        ("a/b", "c"),
        ("a", "b/c"),
        ("a%2Fb", "c"),
    }


def test_decisions_and_notices_go_to_their_topics_under_the_workspace_as_key() -> None:
    scene = Scene(ticks=True)
    scene.department(
        "ann", max_queue=0, email=e.EmailSettings(unattended=e.MailSwitch(True, "desk@acme.test"))
    )
    scene.ask("c1")
    scene.leave("c1")
    outputs = [output for outputs in straight(records_of(scene)) for output in outputs]
    assert {output.key for output in outputs} == {b"acme"}
    topics = [output.topic for output in outputs]
    assert (topics.count(ROUTING), topics.count(NOTICES)) == (3, 1)
    for output in outputs:
        read = codec.decisions if output.topic == ROUTING else codec.notices
        assert read.decode(output.value).source == "/services/router"


def test_a_partition_goes_to_a_newer_version_and_back_and_loses_nothing() -> None:
    """The next version has another field in chats, offers and agents' settings, and another kind of value."""
    scene = office("ann", "bob", ticks=True)
    scene.ask("c1")
    scene.accept("ann", "c1")
    scene.ask("c2")
    records = records_of(scene)
    scene.at(1).presence("bob", "away")
    scene.presence("bob", "online")
    scene.leave("c1")
    scene.accept("bob", "c2")
    further = records_of(scene)[len(records) :]
    router = Interrupted()
    outputs = [router.process(record) for record in records]
    router.commit()
    grown = {key: as_of_next_version(key, value) for key, value in router.topic.items()}
    unknown = b"callback/acme/c1"
    router.topic = {**grown, unknown: b"[2,{}]"}
    router.restart()
    outputs += [router.process(record) for record in further]
    router.commit()
    assert outputs == straight([*records, *further])
    assert router.topic[unknown] == b"[2,{}]"
    rewritten = [key for key, value in router.topic.items() if grown.get(key, value) != value]
    assert {key.split(b"/")[0] for key in rewritten} >= {b"chat", b"agent", b"counts", b"clock"}
    for key in rewritten:
        form, values = orjson.loads(router.topic[key])
        assert (form, values[-1]) == (1, NEXT), key
        if key.startswith(b"agent/"):
            assert values[1][-1] == NEXT, "its settings are the same"


NEXT = {"next": 1}


def as_of_next_version(key: bytes, value: bytes) -> bytes:
    """A stored value with one more field, and in its parts as well."""
    if key.startswith(b"seen/"):
        return value
    form, values = orjson.loads(value)
    for part in (part for part in values if key.startswith(b"agent/") and isinstance(part, list)):
        part.append(NEXT)
    return orjson.dumps([form, [*values, NEXT]])


def envelope(type_: str) -> bytes:
    """A sound envelope with empty data."""
    head = '{"specversion":"1.0","id":"i","source":"s","time":"2026-11-23T09:00:00Z","workspaceid":"acme"'
    return f'{head},"type":"{type_}","data":{{}}}}'.encode()


TICK = codec.encode_tick(event_id="t", source="/services/router", at_ms=0, partition=1, limit_ms=3000)


@pytest.mark.parametrize(
    ("key", "value", "error", "told"),
    [
        (b"other", None, codec.Poison, "key: differs from workspaceid"),
        (None, None, codec.Poison, "key: differs from workspaceid"),
        (b"acme", b"{nonsense", codec.Poison, "not JSON"),
        (b"acme", b"\xff\xfe", codec.Poison, "not JSON"),
        (b"acme", b"[]", codec.Poison, "array given"),
        (b"1", TICK, codec.Poison, "another partition's tick"),
        (
            b"acme",
            envelope("chat.sung.v1"),
            codec.UnknownType,
            "chat.sung.v1",
        ),
        (
            b"acme",
            envelope("visitor.left.v1"),
            codec.Poison,
            "chat_id: missing",
        ),
    ],
)
def test_what_cannot_be_read_changes_nothing(
    key: bytes | None, value: bytes | None, error: type[Exception], told: str
) -> None:
    scene = office("ann", ticks=True)
    records = records_of(scene)
    router = Interrupted()
    for record in records:
        router.process(record)
    router.commit()
    before = dict(router.topic)
    sound = records[-1].value if value is None else value
    with pytest.raises(error, match=told):
        router.process(InputRecord(EVENTS, 0, 99, scene.now_ms + 60_000, key, sound))
    router.commit()
    assert router.topic == before
