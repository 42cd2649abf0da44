"""The contract against the released one, and controls: each breaking change must be called one, each harmless one must not."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas import asyncapi
from schemas.compatibility import problems

BASELINE = Path(__file__).parent / "baseline" / "asyncapi.json"
Schema = dict[str, Any]
Change = Callable[[Schema], object]


def released() -> Schema:
    document: Schema = json.loads(BASELINE.read_text(encoding="utf-8"))
    return document


def data(document: Schema, name: str) -> Schema:
    found: Schema = document["components"]["schemas"][name]["properties"]["data"]
    return found


def part(document: Schema, name: str) -> Schema:
    found: Schema = document["components"]["schemas"][name]
    return found


def test_the_contract_breaks_nobody_who_was_built_against_the_released_one() -> None:
    assert problems(old=released(), new=asyncapi.document()) == []


def rename(properties: Schema, old: str, new: str) -> None:
    properties[new] = properties.pop(old)


def drop_type(document: Schema) -> None:
    del document["channels"]["chat.routing.v1"]["messages"]["chat.missed.v1"]


BREAKING: dict[str, tuple[Change, str]] = {
    "decision loses a field": (
        lambda doc: data(doc, "chat.assigned.v1")["properties"].pop("waited_ms"),
        "chat.assigned.v1.data.waited_ms: the field is gone",
    ),
    "decision field renamed": (
        lambda doc: rename(data(doc, "chat.assigned.v1")["properties"], "agent_id", "agent"),
        "chat.assigned.v1.data.agent_id: the field is gone",
    ),
    "decision field of another type": (
        lambda doc: data(doc, "chat.queued.v1")["properties"].update(position={"type": "string"}),
        "chat.queued.v1.data.position: integer became string",
    ),
    "integer of a decision becomes a number": (
        lambda doc: data(doc, "chat.queued.v1")["properties"].update(position={"type": "number"}),
        "number became integer",
    ),
    "decision field may be absent now": (
        lambda doc: data(doc, "chat.missed.v1")["required"].remove("reason"),
        "chat.missed.v1.data.reason: is required and may be absent (an older reader refuses it)",
    ),
    "decision may say a new value": (
        lambda doc: data(doc, "chat.missed.v1")["properties"]["reason"]["enum"].append("bored"),
        '"bored" is not read (an older reader refuses it)',
    ),
    "decision requires what kept records lack": (
        lambda doc: data(doc, "chat.missed.v1")["required"].append("detail"),
        "chat.missed.v1.data.detail: is required and may be absent",
    ),
    "decision for another audience": (
        lambda doc: part(doc, "chat.queued.v1")["properties"].update(audience={"const": "owner"}),
        '"visitor" is not read',
    ),
    "shared part of a decision loses a field": (
        lambda doc: part(doc, "Why")["properties"].pop("rank"),
        "data.why.rank: the field is gone",
    ),
    "type gone": (drop_type, "chat.missed.v1: the type is gone"),
    "topic gone": (
        lambda doc: [doc["channels"].pop("chat.notices.v1"), doc["operations"].pop("send.chat.notices.v1")],
        "chat.notices.v1: the topic is gone",
    ),
    "topic changes direction": (
        lambda doc: doc["operations"]["send.chat.notices.v1"].update(action="receive"),
        "chat.notices.v1: was send, is receive",
    ),
    "input requires a new field": (
        lambda doc: (
            data(doc, "agent.presence.v1")["properties"].update(device={"type": "string"}),
            data(doc, "agent.presence.v1")["required"].append("device"),
        ),
        "agent.presence.v1.data.device: is required and may be absent",
    ),
    "input refuses a value it took": (
        lambda doc: data(doc, "agent.presence.v1")["properties"]["status"]["enum"].remove("away"),
        '"away" is not read',
    ),
    "input takes a shorter text": (
        lambda doc: data(doc, "chat.message.v1")["properties"]["text"].update(maxLength=100),
        "chat.message.v1.data.text: maxLength is 100",
    ),
    "input takes a smaller number": (
        lambda doc: data(doc, "chat.feedback.v1")["properties"]["rating"].update(maximum=4),
        "chat.feedback.v1.data.rating: maximum is 4, was 5",
    ),
    "input no longer takes null": (
        lambda doc: data(doc, "agent.configured.v1")["properties"].update(team={"type": "string"}),
        "agent.configured.v1.data.team: null became string",
    ),
    "input gets a pattern": (
        lambda doc: data(doc, "chat.requested.v1")["properties"]["chat_id"].update(pattern="^c"),
        "chat.requested.v1.data.chat_id: pattern is ^c",
    ),
    "input field of a nested part loses its default": (
        lambda doc: part(doc, "Routing")["properties"]["offer_timeout_s"].update(default=30),
        "data.routing.offer_timeout_s: the default was 20.0, is 30",
    ),
    "input list takes other items": (
        lambda doc: data(doc, "department.configured.v1")["properties"]["agent_ids"].update(
            items={"type": "integer"}
        ),
        "department.configured.v1.data.agent_ids[]: string became integer",
    ),
    "input map takes other values": (
        lambda doc: data(doc, "agent.configured.v1")["properties"]["skills"].update(
            additionalProperties={"type": "string"}
        ),
        "agent.configured.v1.data.skills{}: number became string",
    ),
    "field of an optional part is gone": (
        lambda doc: part(doc, "Hours")["properties"].pop("closed_dates"),
        "hours.closed_dates: the field is gone",
    ),
}


@pytest.mark.parametrize("name", BREAKING)
def test_a_breaking_change_is_called_one(name: str) -> None:
    change, said = BREAKING[name]
    new = copy.deepcopy(released())
    change(new)
    found = problems(old=released(), new=new)
    assert any(said in line for line in found), found


HARMLESS: dict[str, Change] = {
    "decision gains an optional field": lambda doc: data(doc, "chat.queued.v1")["properties"].update(
        lane={"type": "string", "default": "fast"}
    ),
    "input gains an optional field": lambda doc: data(doc, "agent.presence.v1")["properties"].update(
        device={"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
    ),
    "input takes one more value": lambda doc: data(doc, "agent.presence.v1")["properties"]["status"][
        "enum"
    ].append("busy"),
    "input takes a longer text": lambda doc: data(doc, "chat.message.v1")["properties"]["text"].update(
        maxLength=99_999
    ),
    "input field may be absent now": lambda doc: data(doc, "chat.message.v1")["required"].remove(
        "message_id"
    ),
    "input integer may be a number": lambda doc: data(doc, "chat.feedback.v1")["properties"]["rating"].update(
        type="number"
    ),
    "a new type": lambda doc: (
        part(doc, "chat.queued.v1"),
        doc["components"]["schemas"].update({"chat.queued.v2": {"type": "object"}}),
        doc["channels"]["chat.routing.v1"]["messages"].update({"chat.queued.v2": {}}),
    ),
    "other words": lambda doc: data(doc, "chat.queued.v1").update(description="It waits."),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_change_is_not_called_breaking(name: str) -> None:
    new = copy.deepcopy(released())
    HARMLESS[name](new)
    assert new != released()
    assert problems(old=released(), new=new) == []
