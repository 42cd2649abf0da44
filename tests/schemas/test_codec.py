"""The edge: what is written is read back, what does not fit is refused by a sentence without the value."""

import json
import traceback
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import codec, topics
from schemas.catalogue import CHANNELS
from schemas.codec import Poison, UnknownType
from schemas.decisions import Cause, ChatOffered, Why
from schemas.envelope import Envelope, PartitionEnvelope, from_ms, to_ms
from schemas.events import ChatRequested, RouterTick, Visitor, VisitorLeft
from schemas.jsonschema import of_type
from schemas.types import QUESTION_CHARS_MAX, TEXT_CHARS_MAX
from tests.schemas.strategies import of

CODECS = {
    topics.EVENTS: codec.events,
    topics.ROUTING: codec.decisions,
    topics.NOTICES: codec.notices,
    topics.TRANSCRIPTS: codec.transcripts,
    topics.DELIVERIES: codec.deliveries,
    topics.ACTIVITIES: codec.activities,
}
MEMBERS = [(member, channel) for channel in CHANNELS for member in channel.members]
IDS = [member.TYPE for member, _ in MEMBERS]
AT_MS = 1_795_251_600_123
SECRET = "hanako.s3cret@example.com"


def written(data: Any, *, cause: Cause | None = None) -> bytes:
    if isinstance(data, RouterTick):
        return codec.encode_tick(
            event_id="e-1", source="/test", at_ms=AT_MS, partition=data.partition, limit_ms=data.limit_ms
        )
    return codec.encode(data, event_id="e-1", source="/test", at_ms=AT_MS, workspace_id="acme", cause=cause)


def raw(kind: str, data: Any, **changed: Any) -> bytes:
    """One envelope as a publisher writes it; an attribute given as None is left out."""
    envelope = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/test",
        "type": kind,
        "time": "2026-11-21T09:00:00.000Z",
        "workspaceid": "acme",
        "data": data,
        **changed,
    }
    return json.dumps({name: value for name, value in envelope.items() if value is not None}).encode()


def request(**changed: Any) -> dict[str, Any]:
    data = {"chat_id": "c-1", "channel": "web", "question": "?", "visitor": {"visitor_id": "v-1"}, **changed}
    return {name: value for name, value in data.items() if value is not None}


# ---------------------------------------------------------------- round trips


@pytest.mark.parametrize(("member", "channel"), MEMBERS, ids=IDS)
def test_every_type_comes_back_as_it_was_written_and_fits_its_schema(member: Any, channel: Any) -> None:
    schema = jsonschema.Draft202012Validator(of_type(member, is_input=channel.is_input))
    cause = Cause(event_id="e-0", partition=3, offset=7)
    is_caused = channel.topic in (topics.ROUTING, topics.NOTICES)

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(data=of(member))
    def check(data: Any) -> None:
        record = written(data, cause=cause if is_caused and data.cause is None else None)
        envelope = CODECS[channel.topic].decode(record)
        again = envelope.data
        if is_caused and data.cause is None:
            assert again.cause == cause
        assert json.loads(written(again)) == json.loads(record)
        assert type(again) is member
        assert envelope.id == "e-1"
        assert to_ms(envelope.time) == AT_MS
        assert envelope.type == member.TYPE
        if not is_caused:
            assert again == data
        assert [error.message for error in schema.iter_errors(json.loads(record))] == []

    check()


def test_a_tick_names_its_partition_and_no_workspace() -> None:
    record = written(RouterTick(partition=5, limit_ms=300))
    assert "workspaceid" not in json.loads(record)
    envelope = codec.events.decode(record)
    assert isinstance(envelope, PartitionEnvelope)
    assert envelope.data == RouterTick(partition=5, limit_ms=300)


def test_every_other_event_needs_a_workspace() -> None:
    with pytest.raises(Poison, match=r"^workspaceid: missing"):
        codec.events.decode(raw("agent.heartbeat.v1", {"agent_id": "a"}, workspaceid=None))


def test_a_decision_carries_cause_and_audience_and_no_empty_field() -> None:
    offer = ChatOffered(chat_id="c", offer_id="o", agent_ids=("a",), kind="new", why=Why(rule="least_loaded"))
    record = json.loads(written(offer, cause=Cause(timer="offer_timeout")))
    assert record["audience"] == "agents"
    assert record["data"]["cause"] == {"timer": "offer_timeout"}
    assert "message" not in record["data"]
    assert record["data"]["silent_agent_ids"] == []


@given(at_ms=st.integers(0, 4_102_444_800_000))
def test_milliseconds_survive_the_wire(at_ms: int) -> None:
    record = codec.encode(
        VisitorLeft(chat_id="c"), event_id="e", source="/test", at_ms=at_ms, workspace_id="acme"
    )
    assert to_ms(codec.events.decode(record).time) == at_ms
    assert json.loads(record)["time"] == from_ms(at_ms)


def test_time_in_any_zone_is_one_instant() -> None:
    envelope = codec.events.decode(
        raw("agent.heartbeat.v1", {"agent_id": "a"}, time="2026-11-21T18:00:00+09:00")
    )
    assert from_ms(to_ms(envelope.time)) == "2026-11-21T09:00:00.000Z"


def test_what_is_not_of_the_contract_cannot_be_written() -> None:
    with pytest.raises(TypeError, match="object"):
        codec.dumps({"x": object()})


# ---------------------------------------------------------------- tolerance


def test_unknown_fields_are_ignored_everywhere() -> None:
    data = request(colour="red", visitor={"visitor_id": "v-1", "shoe_size": 42})
    envelope = codec.events.decode(
        raw("chat.requested.v1", data, partition=3, datacontenttype="application/json")
    )
    assert isinstance(envelope, Envelope)
    assert envelope.data == ChatRequested(
        chat_id="c-1", channel="web", question="?", visitor=Visitor(visitor_id="v-1")
    )


@pytest.mark.parametrize("topic", [topics.EVENTS, topics.ROUTING, topics.TRANSCRIPTS])
def test_an_unknown_type_is_not_poison(topic: str) -> None:
    with pytest.raises(UnknownType, match=r"^chat\.teleported\.v9$"):
        CODECS[topic].decode(raw("chat.teleported.v9", {"anything": [1, 2]}))


@pytest.mark.parametrize("broken", [{"id": None}, {"time": "soon"}, {"data": [1]}, {"workspaceid": ""}])
def test_an_unknown_type_in_a_broken_envelope_is_poison(broken: dict[str, Any]) -> None:
    with pytest.raises(Poison):
        codec.events.decode(raw("chat.teleported.v9", **{"data": {"x": 1}, **broken}))


# ---------------------------------------------------------------- poison

POISON: dict[str, tuple[bytes | str | None, str]] = {
    "no value": (None, "has no value"),
    "empty": (b"", "not JSON"),
    "not JSON": (b"{'id': hanako.s3cret@example.com}", "not JSON"),
    "cut off": (raw("agent.heartbeat.v1", {"agent_id": SECRET})[:-3], "not JSON"),
    "two documents": (raw("agent.heartbeat.v1", {"agent_id": SECRET}) * 2, "not JSON"),
    "not UTF-8": (b'{"id":"\xff\xfe"}', "not JSON"),
    "half a surrogate pair": (
        raw("agent.heartbeat.v1", {"agent_id": "X"}).replace(b"X", b"\\ud800"),
        "not JSON",
    ),
    "deeply nested": (b"[" * 100_000, "not JSON"),
    "null": (b"null", "the record: null given"),
    "a list": (b"[]", "the record: array given"),
    "a string": (json.dumps(SECRET).encode(), "the record: string given"),
    "no type": (raw("x", {}, type=None), "type: missing"),
    "type is a number": (raw("x", {}, type=5), "type: "),
    "other version": (
        raw("agent.heartbeat.v1", {"agent_id": "a"}, specversion="0.3"),
        "specversion: string given",
    ),
    "no id": (raw("agent.heartbeat.v1", {"agent_id": "a"}, id=None), "id: missing"),
    "empty id": (raw("agent.heartbeat.v1", {"agent_id": "a"}, id=""), "id: string given"),
    "time without zone": (
        raw("agent.heartbeat.v1", {"agent_id": "a"}, time="2026-11-21T09:00:00"),
        "time: string given",
    ),
    **{
        f"time {text}": (raw("agent.heartbeat.v1", {"agent_id": "a"}, time=text), "time: string given")
        for text in ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")
    },
    "NUL in an id": (raw("agent.heartbeat.v1", {"agent_id": "a\0b"}), "data.agent_id: string given"),
    "NUL in a text": (raw("chat.requested.v1", request(question="a\0b")), "data.question: string given"),
    "time is a number": (raw("agent.heartbeat.v1", {"agent_id": "a"}, time=1), "time: number given"),
    "data is a list": (raw("agent.heartbeat.v1", [SECRET]), "data: array given"),
    "data is missing": (raw("agent.heartbeat.v1", None), "data: missing"),
    "field missing": (raw("chat.requested.v1", request(chat_id=None)), "data.chat_id: missing"),
    "nested field missing": (
        raw("chat.requested.v1", request(visitor={"name": SECRET})),
        "data.visitor.visitor_id: missing",
    ),
    "number for a string": (raw("chat.requested.v1", request(chat_id=17)), "data.chat_id: number given"),
    "string for a number": (
        raw("agent.configured.v1", {"agent_id": "a", "name": "n", "max_chats": SECRET}),
        "data.max_chats: string given",
    ),
    "fraction for a whole number": (
        raw("agent.configured.v1", {"agent_id": "a", "name": "n", "max_chats": 1.5}),
        "data.max_chats: number given",
    ),
    "string for a boolean": (
        raw("agent.presence.v1", {"agent_id": "a", "status": "away", "sound": "true"}),
        "data.sound: string given",
    ),
    "not one of the choices": (
        raw("chat.requested.v1", request(channel=SECRET)),
        "data.channel: string given; should be 'web'",
    ),
    "not a number": (
        raw("chat.requested.v1", request(visitor={"visitor_id": "v", "score": float("nan")})),
        "data.visitor.score: number given; should be a finite number",
    ),
    "infinite": (
        raw("agent.configured.v1", {"agent_id": "a", "name": "n", "skills": {SECRET: float("inf")}}),
        "data.skills: number given",
    ),
    "a map's key that is too long": (
        raw("agent.configured.v1", {"agent_id": "a", "name": "n", "skills": {SECRET * 20: 1}}),
        "data.skills: string given",
    ),
    "a map's value of the wrong kind": (
        raw("agent.configured.v1", {"agent_id": "a", "name": "n", "skills": {SECRET: "high"}}),
        "data.skills: string given",
    ),
    "a list's item of the wrong kind": (
        raw("department.configured.v1", {"department_id": "d", "name": "n", "agent_ids": ["a", 5]}),
        "data.agent_ids.1: number given",
    ),
    "unknown time zone": (
        raw("workspace.configured.v1", {"name": "n", "timezone": SECRET}),
        "data.timezone: string given; an IANA time zone",
    ),
    "time zone that is a path": (
        raw("workspace.configured.v1", {"name": "n", "timezone": "../../etc/passwd"}),
        "data.timezone: string given",
    ),
    "rating out of range": (
        raw("chat.feedback.v1", {"chat_id": "c", "rating": 6}),
        "data.rating: number given",
    ),
    "negative time-out": (
        raw(
            "department.configured.v1",
            {"department_id": "d", "name": "n", "routing": {"offer_timeout_s": -1}},
        ),
        "data.routing.offer_timeout_s: number given",
    ),
    "no ids in a bulk request": (
        raw("missed.close_requested.v1", {"chat_ids": [], "by_agent_id": "a"}),
        "data.chat_ids: array given",
    ),
    "a tick of no partition": (raw("router.tick.v1", {"partition": -1}), "data.partition: number given"),
}


@pytest.mark.parametrize("name", POISON)
def test_poison_says_where_what_was_given_and_what_was_expected_but_never_the_value(name: str) -> None:
    record, said = POISON[name]
    with pytest.raises(Poison) as refused:
        codec.events.decode(record)
    message = str(refused.value)
    assert said in message
    assert "s3cret" not in message
    assert "passwd" not in message
    assert len(message) < 1_000
    shown = "".join(traceback.format_exception(refused.value))
    assert "ValidationError" not in shown, "a logged traceback must not show the value either"


@settings(max_examples=200, deadline=None)
@given(record=st.binary(max_size=200))
def test_any_bytes_are_poison_and_nothing_else(record: bytes) -> None:
    with pytest.raises(Poison):
        codec.events.decode(record)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(data=JSON, kind=st.sampled_from(sorted(codec.events.types)))
def test_any_data_of_a_known_type_is_read_or_poison(data: Any, kind: str) -> None:
    try:
        envelope = codec.events.decode(raw(kind, data))
    except Poison:
        return
    assert envelope.type == kind


@pytest.mark.parametrize(("member", "channel"), MEMBERS, ids=IDS)
def test_codec_and_schema_refuse_the_same_missing_fields(member: Any, channel: Any) -> None:
    schema = of_type(member, is_input=channel.is_input)
    validator = jsonschema.Draft202012Validator(schema)

    @settings(max_examples=1, deadline=None, database=None)
    @given(data=of(member))
    def check(data: Any) -> None:
        whole = json.loads(written(data, cause=Cause(timer="t")))
        required = set(schema["properties"]["data"].get("required", ())) - {"cause"}
        for name in required:
            less = {**whole, "data": {key: item for key, item in whole["data"].items() if key != name}}
            assert list(validator.iter_errors(less)), name
            with pytest.raises(Poison, match=f"data.{name}: missing"):
                CODECS[channel.topic].decode(orjson.dumps(less))

    check()


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("kind", "data", "field"),
    [
        ("agent.heartbeat.v1", {"agent_id": "X" * 128}, "agent_id"),
        ("chat.requested.v1", request(question="Q" * QUESTION_CHARS_MAX), "question"),
        (
            "chat.note_added.v1",
            {"chat_id": "c", "note_id": "n", "by_agent_id": "a", "text": "T" * TEXT_CHARS_MAX},
            "text",
        ),
        ("missed.close_requested.v1", {"chat_ids": ["c"] * 1_000, "by_agent_id": "a"}, "chat_ids"),
    ],
)
def test_the_limit_itself_fits_and_one_more_does_not(kind: str, data: dict[str, Any], field: str) -> None:
    assert codec.events.decode(raw(kind, data))
    longer = {**data, field: data[field] + data[field][:1]}
    with pytest.raises(Poison, match=f"^data.{field}: (string|array) given"):
        codec.events.decode(raw(kind, longer))


def test_limits_are_those_of_the_contract() -> None:
    assert TEXT_CHARS_MAX == 16 * 1024
    assert QUESTION_CHARS_MAX == 4 * 1024


@pytest.mark.parametrize("name", ["id", "workspaceid"])
def test_ids_of_the_envelope_have_the_limits_of_ids(name: str) -> None:
    fits: dict[str, Any] = {name: "あ" * 128}
    assert codec.events.decode(raw("agent.heartbeat.v1", {"agent_id": "a"}, **fits))
    for bad in ("", "a" * 129):
        broken: dict[str, Any] = {name: bad}
        with pytest.raises(Poison, match=f"^{name}: string given"):
            codec.events.decode(raw("agent.heartbeat.v1", {"agent_id": "a"}, **broken))
