"""What is generated from the contract: no drift, valid after its own standards, and of one mind with the codec."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from schemas import asyncapi, codec, generate, marked, tables, topics
from schemas.catalogue import CHANNELS
from schemas.jsonschema import DIALECT, of_type

HERE = Path(__file__).parent
MEMBERS = [(member, channel) for channel in CHANNELS for member in channel.members]
IDS = [member.TYPE for member, _ in MEMBERS]


def test_the_files_are_what_the_contract_gives() -> None:
    assert generate.generate(check=True) == [], "run `make generate` and look at what it changes"


def test_a_stale_or_changed_file_is_drift(tmp_path: Path) -> None:
    page = tmp_path / "page.json"
    assert not marked.put(page, "{}", check=True)
    assert not page.exists()
    assert not marked.put(page, "{}", check=False)
    assert marked.put(page, "{}", check=True)
    page.write_text("{ }")
    assert not marked.put(page, "{}", check=True)


def test_the_same_contract_gives_the_same_bytes() -> None:
    assert generate.documents() == generate.documents()


@pytest.mark.parametrize(("member", "channel"), MEMBERS, ids=IDS)
def test_each_type_has_a_sound_schema(member: Any, channel: Any) -> None:
    schema = of_type(member, is_input=channel.is_input)
    assert schema["$schema"] == DIALECT
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["description"], "the docstring tells what it is"
    assert schema["properties"]["type"]["const"] == member.TYPE


def test_decisions_and_notices_always_carry_their_cause_and_decisions_their_audience() -> None:
    for member, channel in MEMBERS:
        schema = of_type(member, is_input=channel.is_input)
        is_caused = channel.topic in (topics.ROUTING, topics.NOTICES)
        assert ("cause" in schema["properties"]["data"].get("required", ())) == is_caused, member
        assert ("audience" in schema["required"]) == (channel.topic == topics.ROUTING), member


def test_every_type_of_the_codec_stands_on_one_topic() -> None:
    codecs = (
        codec.events,
        codec.decisions,
        codec.notices,
        codec.transcripts,
        codec.deliveries,
        codec.activities,
    )
    assert sorted(IDS) == sorted(name for each in codecs for name in each.types)
    assert len(IDS) == len(set(IDS))


def test_the_asyncapi_document_has_what_the_standard_asks_for() -> None:
    document = asyncapi.document()
    assert document["asyncapi"] == "3.0.0"
    assert document["info"]["title"]
    assert document["info"]["version"]
    addresses = [channel["address"] for channel in document["channels"].values()]
    assert sorted(addresses) == sorted(channel.topic for channel in CHANNELS)
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = operation["channel"]["$ref"]
        assert channel.startswith("#/channels/")
        for message in operation.get("messages", []):
            assert message["$ref"].startswith(f"{channel}/messages/"), "a message of the operation's channel"
    messages = document["components"]["messages"]
    assert sorted(message["name"] for message in messages.values()) == sorted(IDS)
    assert all(
        message["payload"]["$ref"].startswith("#/components/schemas/") for message in messages.values()
    )


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi.document()

    def references(node: Any) -> list[str]:
        if isinstance(node, list):
            return [found for item in node for found in references(item)]
        if isinstance(node, dict):
            here = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return here + [found for item in node.values() for found in references(item)]
        return []

    found = references(document)
    assert len(found) > len(MEMBERS)
    for reference in found:
        node = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_the_tables_name_every_type_and_topic() -> None:
    events, listed = tables.of_events(), tables.of_topics()
    for name in IDS:
        assert f"| `{name}` |" in events
    for topic in topics.TOPICS:
        assert f"| `{topic.name}` |" in listed or topic.name.endswith(".dlq")


def test_fields_are_told_in_the_notation_of_the_contract() -> None:
    events = tables.of_events()
    assert '`name`, `timezone="UTC"`, `language=en\\|ja`, `channels[]`, `hours{}?`, `sender?`' in events, (
        events[:900]
    )
    assert "`agent_id`, `status=online\\|away\\|offline`, `sound=true`" in events


@pytest.mark.parametrize(
    "page",
    ["nothing", "<!-- a:end --> <!-- a:begin -->", "<!-- a:begin --><!-- a:end --><!-- a:begin -->"],
)
def test_a_page_without_its_markers_is_an_error(page: str) -> None:
    with pytest.raises(ValueError, match="a:begin"):
        marked.replace(page, name="a", body="text")


def test_only_the_marked_part_is_replaced() -> None:
    page = "head\n<!-- a:begin (generated) -->\nold\n<!-- a:end -->\ntail\n"
    replaced = marked.replace(page, name="a", body="new")
    assert replaced == page.replace("old", "new")
    assert marked.replace(replaced, name="a", body="new") == replaced
