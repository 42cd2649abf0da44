"""What is kept of the topics about one chat: what names it in any spelling, nothing else, and no more than was read of the inputs."""

from pathlib import Path

import pytest

from schemas import codec
from schemas import events as e
from schemas.outcomes import MailSettled
from schemas.topics import DELIVERIES, EVENTS, ROUTING
from services.local.story.chat_log import ChatLog, Collector, Reader
from services.router.records import encode_emitted
from services.runtime.ports import InputRecord
from tests.local.told import log_of
from tests.router.scenes import Scene, office, value_of

KEY = b"acme"


def inputs(scene: Scene) -> list[InputRecord]:
    return [record(EVENTS, entry.offset, entry.at_ms, value_of(entry)) for entry in scene.entries]


def decisions(scene: Scene) -> list[InputRecord]:
    encoded = [(item.at_ms, encode_emitted(item)) for item in scene.emitted]
    return [
        record(out.topic, number, at_ms, out.value or b"")
        for number, (at_ms, out) in enumerate(encoded)
        if out.topic == ROUTING
    ]


def record(topic: str, offset: int, at_ms: int, value: bytes, *, key: bytes = KEY) -> InputRecord:
    return InputRecord(topic, 0, offset, at_ms, key, value, ())


def read(records: list[InputRecord], chat_id: str = "c1", workspace_id: str | None = None) -> ChatLog:
    reader = Reader(Collector(chat_id, workspace_id))
    for each in records:
        reader.take(each)
    return reader.collector.found()


def scene_of_two() -> Scene:
    """Two chats, one refused answer."""
    scene = office("ann", "bob")
    for chat_id in ("c1", "c2"):
        scene.ask(chat_id)
    scene.accept("ann", "c1")
    scene.accept("bob", "c1")
    scene.wait(30)
    scene.write("agent", "c1", "ann")
    return scene


def test_topics_and_a_file_of_them_give_the_same(tmp_path: Path) -> None:
    scene = scene_of_two()
    log, filed = read(inputs(scene) + decisions(scene)), log_of(scene, "c1", tmp_path)
    assert log.inputs == filed.inputs
    assert [fact.id for fact in log.decisions] == [fact.id for fact in filed.decisions]
    assert len(log.inputs) == 4
    assert "request.refused.v1" in [fact.data.TYPE for fact in log.decisions]


@pytest.mark.parametrize("known", [6, 7, 9])
def test_decisions_on_what_came_later_wait_for_the_next_look(known: int) -> None:
    scene = scene_of_two()
    log = read(inputs(scene)[:known] + decisions(scene))
    assert max(fact.cause.offset or 0 for fact in log.decisions if fact.cause) < known
    assert max(fact.at_ms for fact in log.decisions) <= max(fact.at_ms for fact in log.inputs)


def test_decisions_are_kept_though_the_inputs_are_past_their_retention() -> None:
    scene = scene_of_two()
    log = read(decisions(scene))
    assert not log.inputs
    assert [fact.data.TYPE for fact in log.decisions][:2] == ["chat.offered.v1", "chat.assigned.v1"]


def test_an_id_may_be_spelled_in_any_way_json_allows() -> None:
    scene = Scene()
    scene.ask("京/1", "acme")
    spelled = value_of(scene.entries[0]).replace("京/1".encode(), rb"\u4eac\/1")
    assert len(read([record(EVENTS, 0, 0, spelled)], "京/1").inputs) == 1


def test_what_the_router_could_not_read_is_left_out() -> None:
    scene = office("ann")
    scene.ask("c1")
    good = inputs(scene)
    value = good[-1].value or b""
    bad = [
        record(EVENTS, 90, 0, value, key=b"other"),
        record(EVENTS, 91, 0, value.replace(b"chat.requested.v1", b"chat.dreamt.v1")),
        record(EVENTS, 92, 0, b"c1"),
    ]
    assert [fact.offset for fact in read(good + bad).inputs] == [good[-1].offset]


def test_another_workspace_is_not_looked_at_when_one_is_named() -> None:
    scene = scene_of_two()
    other = codec.encode(e.VisitorLeft("c1"), event_id="x", source="/t", at_ms=0, workspace_id="beta")
    records = [*inputs(scene), record(EVENTS, 99, 0, other, key=b"beta"), *decisions(scene)]
    assert read(records, workspace_id="acme").workspace_id == "acme"
    assert len(read(records, workspace_id="beta").inputs) == 1


def test_what_workers_did_about_other_chats_is_not_kept() -> None:
    def settled(chat_id: str | None) -> InputRecord:
        data = MailSettled("c1-notice", "transcript", "hash", "sent", chat_id)
        value = codec.encode(data, event_id=f"m-{chat_id}", source="/n", at_ms=5, workspace_id="acme")
        return record(DELIVERIES, 0, 5, value)

    scene = scene_of_two()
    log = read([*inputs(scene), settled("c1"), settled("c2"), settled(None)])
    assert [fact.id for fact in log.effects] == ["m-c1"]
