"""A partition that a newer version has had: this one goes on with it, and loses nothing of what it does not know."""

from typing import Any

import orjson
import pytest

from schemas.stored import Damaged
from services.transcript.core import DAY_MS
from services.transcript.processor import TranscriptProcessor
from tests.transcript.driving import Driver
from tests.transcript.world import World, link

NEXT = {"next": {"level": 1}}
UNKNOWN_KIND = orjson.dumps(["poll", "acme", "c1"])


def two_chats() -> World:
    """One that is over when the versions change, and one that goes on."""
    world = World()
    world.request("c1")
    world.say("c1", "over")
    world.request("c2")
    world.say("c2", "before")
    world.say("c2", "refused later")
    world.end("c1")
    return world


def as_of_next_version(driver: Driver) -> None:
    """Rewrites a changelog as a version would that has another field in each object, and another kind of value."""
    for key, value in driver.changelog.items():
        stored: Any = orjson.loads(value)
        if isinstance(stored, dict):
            for request in stored.get("requests", {}).values():
                request.update(NEXT)
            driver.changelog[key] = orjson.dumps(stored | NEXT)
    driver.changelog[UNKNOWN_KIND] = orjson.dumps(NEXT)


def test_what_a_newer_version_stored_goes_through_an_older_one() -> None:
    world = two_chats()
    read = len(world.events), len(world.routing)
    world.say("c2", "after", internal=True)
    world.end("c2")
    plain, driver = Driver(), Driver()
    for each in (plain, driver):
        each.feed([*world.events[: read[0]], *world.routing[: read[1]]])
    as_of_next_version(driver)
    driver.crash()
    for each in (plain, driver):
        each.feed([*world.events[read[0] :], *world.routing[read[1] :]])
    assert len(driver.outputs) == 2
    assert driver.outputs == plain.outputs
    assert driver.changelog.pop(UNKNOWN_KIND) == orjson.dumps(NEXT), "left as it is"
    assert driver.changelog.keys() == plain.changelog.keys()
    kinds = set()
    for key, value in driver.changelog.items():
        stored, known = orjson.loads(value), orjson.loads(plain.changelog[key])
        kinds.add(orjson.loads(key)[0])
        for request in stored.get("requests", {}).values():
            assert request.pop("next") == NEXT["next"]
        assert stored == known | NEXT, key
    assert kinds == {"chat", "progress"}


def test_what_is_deleted_takes_along_what_was_kept() -> None:
    world = two_chats()
    driver = Driver()
    driver.feed([*world.events, *world.routing])
    as_of_next_version(driver)
    driver.crash()
    world.now_ms += DAY_MS + 60_000
    late = len(world.events)
    world.request("c3")
    driver.feed(world.events[late:])
    assert orjson.dumps(["chat", "acme", "c1"]) not in driver.changelog
    again = len(world.events)
    world.request("c1")
    driver.feed(world.events[again:])
    assert b"next" not in driver.changelog[orjson.dumps(["chat", "acme", "c1"])]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b'{"position": "secret"}', "not valid"),
        (b"secret", "not valid"),
        (b'{"position":1,"now_ms":1,"form":2,"secret":1}', "in a form of a newer version"),
    ],
)
def test_what_cannot_be_read_is_told_without_its_content(value: bytes, told: str) -> None:
    with pytest.raises(Damaged, match=f"^a stored progress: {told}$") as caught:
        TranscriptProcessor(0, link=link).restore(b'["progress"]', value)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
