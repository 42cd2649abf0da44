"""The topics: named once, kept as the contract says, large enough for what is copied into them."""

import pytest

from schemas import topics
from schemas.topics import DAY_MS, TOPICS, dead_letters

CONFIG = {topic.name: topic.config for topic in TOPICS}


def test_each_topic_is_named_once() -> None:
    assert len(CONFIG) == len(TOPICS)


def test_the_names_are_those_of_the_contract() -> None:
    assert {name for name in CONFIG if not name.endswith(".dlq")} == {
        "chat.events.v1",
        "chat.routing.v1",
        "chat.notices.v1",
        "chat.transcripts.v1",
        "chat.deliveries.v1",
        "crm.activities.v1",
        "chat.router.state.v1",
        "chat.transcript.state.v1",
    }


def test_every_topic_that_is_decoded_has_dead_letters() -> None:
    decoded = {name for name in CONFIG if not name.endswith(".dlq") and ".state." not in name}
    assert {name for name in CONFIG if name.endswith(".dlq")} == {dead_letters(name) for name in decoded}


@pytest.mark.parametrize(("name", "days"), [(topics.EVENTS, 7), (topics.ROUTING, 30), (topics.NOTICES, 30)])
def test_records_are_kept_as_long_as_the_contract_says(name: str, days: int) -> None:
    assert CONFIG[name]["cleanup.policy"] == "delete"
    assert CONFIG[name]["retention.ms"] == str(days * DAY_MS)


def test_only_the_input_is_stamped_by_the_broker() -> None:
    stamped = [name for name, config in CONFIG.items() if "message.timestamp.type" in config]
    assert stamped == [topics.EVENTS]
    assert CONFIG[topics.EVENTS]["message.timestamp.type"] == "LogAppendTime"


def test_state_is_compacted_and_never_expires() -> None:
    for name in (topics.ROUTER_STATE, topics.TRANSCRIPT_STATE):
        assert CONFIG[name]["cleanup.policy"] == "compact"
        assert "retention.ms" not in CONFIG[name]


def test_dead_letters_and_state_take_any_record_a_publisher_may_send() -> None:
    largest = int(CONFIG[topics.EVENTS]["max.message.bytes"])
    for name, config in CONFIG.items():
        if name.endswith(".dlq") or ".state." in name:
            assert int(config["max.message.bytes"]) >= 2 * largest, name
