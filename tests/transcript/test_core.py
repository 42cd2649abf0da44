"""The assembler by table: what a transcript holds, and what leaves it alone."""

import pytest

from schemas import codec
from schemas.decisions import MissedUpdated
from schemas.events import BotTransferRequested, ChatMessage, MissedAssignRequested, Visitor
from schemas.topics import EVENTS
from services.runtime.ports import InputRecord
from services.transcript import core
from services.transcript.parts import PART_BYTES_MAX
from services.transcript.processor import transcript_id
from tests.transcript.driving import Driver, run, texts
from tests.transcript.world import SENDERS, START_MS, World, link


def test_a_handled_chat_becomes_one_transcript() -> None:
    world = World()
    world.request("c1")
    world.say("c1", "料金は?")
    world.say("c1", "look at his history", kind="agent", internal=True)
    world.say("c1", "千円です", kind="agent", time_ms=START_MS - 5_000)
    world.tag("c1", "price", "vip")
    world.now_ms += 60_000
    world.end("c1")
    (found,) = run(world)
    assert texts(found) == ["料金は?", "look at his history", "千円です"]
    assert [message.internal for message in found.messages] == [False, True, False]
    assert found.messages[2].at == "2026-11-21T08:59:55.000Z"
    assert (found.part, found.parts, found.revision) == (1, 1, 1)
    assert (found.question, found.channel, found.tags) == ("料金について", "web", ("price", "vip"))
    assert (found.outcome, found.reason, found.tag) == ("handled", None, None)
    assert found.link == link("acme", "c1", 1, START_MS + 60_000)


def test_the_record_is_stamped_with_the_end_and_has_a_fixed_id() -> None:
    world = World()
    world.request("c1")
    world.now_ms += 1_000
    world.end("c1")
    driver = Driver()
    driver.feed([*world.events, *world.routing])
    envelope = codec.transcripts.decode(driver.outputs[0].value)
    assert envelope.id == transcript_id("acme", "c1", revision=1, part=1) == "3548fd5a129865e04475cb2a00"
    assert envelope.source == "/services/transcript"
    assert envelope.time.isoformat() == "2026-11-21T09:00:01+00:00"


def test_nothing_is_complete_before_the_named_offset_is_read() -> None:
    world = World()
    world.request("c1")
    world.say("c1", "one")
    world.end("c1")
    driver = Driver()
    driver.feed([*world.routing, *world.events[:-1]])
    assert driver.outputs == []
    driver.feed(world.events[-1:])
    assert [texts(found) for found in driver.transcripts] == [["one"]]


def test_a_tick_can_be_the_last_record_needed() -> None:
    world = World()
    world.request("c1")
    world.miss("c1")
    driver = Driver()
    driver.feed(world.routing)
    driver.feed(world.events)
    (found,) = driver.transcripts
    assert (found.outcome, found.reason, found.tag) == ("missed", "no_reply", "unattended")


def test_messages_after_the_end_are_not_part_of_it() -> None:
    world = World()
    world.request("c1")
    world.say("c1", "before")
    world.end("c1")
    world.say("c1", "after")
    assert [texts(found) for found in run(world)] == [["before"]]


def test_duplicates_change_nothing() -> None:
    world = World()
    request = world.request("c1")
    message = world.say("c1", "once", message_id="m1")
    world.again(message)
    world.again(request)
    world.say("c1", "the same message id", message_id="m1")
    # The same (source, id) is the same event, whatever it says the second time.
    world.publish(ChatMessage("c1", "m2", SENDERS["visitor"], "other"), event_id=f"e{message}")
    world.end("c1")
    (found,) = run(world)
    assert texts(found) == ["once"]


def test_refused_messages_are_left_out_and_may_be_said_again() -> None:
    world = World()
    world.request("c1")
    refused = world.say("c1", "let me in", kind="agent", message_id="m1")
    world.refuse(refused, kind=ChatMessage.TYPE, code="not_owner")
    world.say("c1", "let me in", kind="agent", message_id="m1")
    world.end("c1")
    (found,) = run(world)
    assert texts(found) == ["let me in"]


def test_a_refused_request_leaves_the_running_chat_alone() -> None:
    world = World()
    world.request("c1", question="first")
    world.say("c1", "one")
    world.refuse(world.request("c1", question="second"))
    world.say("c1", "two")
    world.end("c1")
    (found,) = run(world)
    assert (found.question, texts(found)) == ("first", ["one", "two"])


def test_a_reopened_chat_is_told_from_its_beginning() -> None:
    world = World()
    world.request("c1")
    world.say("c1", "anybody?")
    world.tag("c1", "late")
    world.miss("c1")
    world.reopen("c1", at=world.say("c1", "still here"), revision=2)
    world.say("c1", "sorry!", kind="agent")
    world.end("c1", revision=2)
    first, second = run(world)
    assert (first.revision, first.outcome, texts(first)) == (1, "missed", ["anybody?"])
    assert (second.revision, second.outcome, second.reason) == (2, "handled", None)
    assert texts(second) == ["anybody?", "still here", "sorry!"]
    assert second.tags == ("late",)


def test_a_missed_chat_a_bot_goes_on_with_closes_later() -> None:
    world = World()
    world.request("c1")
    world.say("c1", "hi", kind="bot")
    world.missed("c1", at=world.tick(), reason="transfer_not_attended", tag="bot_transfer_failed")
    world.delete("c1")
    world.say("c1", "more", kind="bot")
    world.end("c1", outcome="missed")
    (found,) = run(world)
    assert (found.reason, found.tag) == ("transfer_not_attended", "bot_transfer_failed")
    assert texts(found) == ["hi", "more"]


def test_taken_out_of_the_inbox_a_bots_chat_may_still_go_on_with_people() -> None:
    world = World()
    world.request("c1")
    world.say("c1", "hi", kind="bot")
    world.missed("c1", at=world.tick(), reason="transfer_not_attended", tag="bot_transfer_failed")
    world.delete("c1")
    world.say("c1", "a person, please")
    at = world.publish(BotTransferRequested("c1", "b1"))
    world.closed("c1", at=at, outcome="missed", ended_by="bot")
    world.reopen("c1", at=at, revision=2)
    world.say("c1", "here I am", kind="agent")
    world.end("c1", revision=2)
    for read_first in range(len(world.events) + 1):
        driver = Driver()
        driver.feed([*world.events[:read_first], *world.routing, *world.events[read_first:]])
        first, second = driver.transcripts
        assert (first.outcome, texts(first)) == ("missed", ["hi", "a person, please"])
        assert (second.outcome, texts(second)) == ("handled", ["hi", "a person, please", "here I am"])


def test_a_missed_chat_assigned_while_its_visitor_is_there_goes_on() -> None:
    world = World()
    world.request("c1")
    world.say("c1", "hi", kind="bot")
    world.missed("c1", at=world.tick(), reason="transfer_not_attended", tag="bot_transfer_failed")
    at = world.publish(MissedAssignRequested(("c1",), "a1", "a1"))
    world.decide(MissedUpdated("c1", "assigned", "a1", "a1"), at=at)
    world.closed("c1", at=at, outcome="missed")
    world.reopen("c1", at=at, revision=2)
    world.say("c1", "here I am", kind="agent")
    world.end("c1", revision=2)
    first, second = run(world)
    assert (first.reason, first.tag) == ("transfer_not_attended", "bot_transfer_failed")
    assert (second.reason, second.tag, texts(second)) == (None, None, ["hi", "here I am"])


def test_a_chat_id_used_again_is_another_chat() -> None:
    world = World()
    world.request("c1", question="first")
    world.say("c1", "one", message_id="m1")
    world.tag("c1", "old")
    world.end("c1")
    world.now_ms += core.DAY_MS + 1_000
    world.request("c1", question="second")
    world.say("c1", "two", message_id="m1")
    world.end("c1")
    first, second = run(world)
    assert (first.question, texts(first), first.tags) == ("first", ["one"], ("old",))
    assert (second.question, texts(second), second.tags) == ("second", ["two"], ())


def test_workspaces_do_not_mix() -> None:
    world = World()
    world.request("c1", workspace="acme")
    world.request("c1", workspace="other", question="other's")
    world.say("c1", "acme's", workspace="acme")
    world.end("c1", workspace="other")
    world.end("c1", workspace="acme")
    other, acme = run(world)
    assert (other.question, texts(other), texts(acme)) == ("other's", [], ["acme's"])


def test_unreadable_events_are_passed_over_here() -> None:
    world = World()
    world.request("c1")
    world.raw(b"not json", workspace="acme")
    world.raw(
        b'{"specversion":"1.0","id":"x","source":"/x","type":"new.v9","time":"2026-01-01T00:00:00Z",'
        b'"workspaceid":"acme","data":{}}',
        workspace="acme",
    )
    value = world.events[world.say("c1", "under another key")].value
    assert value is not None
    world.events.pop()
    world.raw(value, workspace="other")
    world.end("c1")
    (found,) = run(world)
    assert texts(found) == []


def test_an_unreadable_decision_is_poison() -> None:
    driver = Driver()
    record = InputRecord("chat.routing.v1", 0, 0, START_MS, b"acme", b"{}")
    with pytest.raises(codec.Poison):
        driver.feed([record])


def test_the_visitor_is_the_one_the_router_knew_at_the_end() -> None:
    world = World()
    world.request("c1")
    world.end("c1", visitor=Visitor("v1", name="later", email="later@example.com"))
    assert run(world)[0].visitor.email == "later@example.com"


def test_a_long_conversation_comes_in_parts() -> None:
    world = World()
    world.request("c1")
    sent = [f"{number} " + '長い\n\x01"' * 2_000 for number in range(90)]
    for text in sent:
        world.say("c1", text)
    world.end("c1")
    driver = Driver()
    driver.feed([*world.events, *world.routing])
    found = driver.transcripts
    assert len(found) > 1
    assert [(part.part, part.parts) for part in found] == [(n, len(found)) for n in range(1, len(found) + 1)]
    assert [text for part in found for text in texts(part)] == sent
    sizes = [len(output.value or b"") for output in driver.outputs]
    assert all(size <= PART_BYTES_MAX for size in sizes)
    assert min(sizes[:-1]) > PART_BYTES_MAX * 0.9
    assert len({part.link for part in found}) == 1
    assert len({codec.transcripts.decode(output.value).id for output in driver.outputs}) == len(found)


def test_a_conversation_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "MESSAGES_MAX", 3)
    world = World()
    world.request("c1")
    for number in range(5):
        world.say("c1", str(number))
    world.end("c1")
    assert texts(run(world)[0]) == ["0", "1", "2"]


class TestMemory:
    """The changelog shows what is remembered."""

    def test_closed_and_refused_chats_are_forgotten_after_a_day(self) -> None:
        world = World()
        world.request("c1")
        world.say("c1")
        world.end("c1")
        blocked = world.request("c2")
        world.say("c2")
        world.refuse(blocked, code="visitor_blocked")
        driver = Driver()
        driver.feed([*world.events, *world.routing])
        assert keys(driver) == ["chat", "chat", "progress"], "no message is kept"
        world.now_ms += core.DONE_KEPT_MS + 1
        driver.feed([world.events[world.tick()]])
        assert keys(driver) == ["progress"]

    def test_a_missed_chat_is_kept_for_a_reopening_until_it_is_deleted(self) -> None:
        world = World()
        world.request("c1")
        world.say("c1")
        world.miss("c1")
        driver = Driver()
        driver.feed([*world.events, *world.routing])
        assert keys(driver) == ["chat", "message", "progress"]
        world.delete("c1")
        driver.feed([world.events[-1], world.routing[-1]])
        assert keys(driver) == ["chat", "progress"]

    def test_a_chat_nothing_is_heard_of_is_forgotten(self) -> None:
        world = World()
        world.request("c1")
        world.say("c1")
        driver = Driver()
        driver.feed(world.events)
        world.now_ms += core.QUIET_KEPT_MS + 1
        driver.feed([world.events[world.tick()]])
        assert keys(driver) == ["progress"]

    def test_a_chat_of_thirty_days_is_whole(self) -> None:
        world = World()
        world.request("c1")
        world.say("c1", "first")
        world.now_ms += 30 * core.DAY_MS
        world.say("c1", "last")
        world.end("c1")
        assert texts(run(world)[0]) == ["first", "last"]

    def test_of_a_month_full_of_chats_only_the_open_one_is_remembered(self) -> None:
        """With a crash every day, and the decisions read first, so that everything waits for its events."""
        world, driver, days, daily = World(), Driver(), 30, 20
        world.request("open", question="since long ago")
        seen_events = seen_routing = most = 0
        for day in range(days):
            world.say("open", f"day {day}")
            world.say("open", f"aside {day}", kind="agent", internal=True)
            for number in range(daily):
                chat = f"{day}-{number}"
                world.request(chat)
                world.say(chat, "x" * 1_000)
                world.end(chat)
            world.now_ms += core.DAY_MS + 1
            driver.feed([*world.routing[seen_routing:], *world.events[seen_events:]])
            seen_events, seen_routing = len(world.events), len(world.routing)
            driver.crash()
            most = max(most, len(driver.changelog))
        assert most <= 2 + 2 * days + daily, (
            "its head, the progress and its messages, and the heads of one day's others"
        )
        world.end("open")
        driver.feed([*world.routing[seen_routing:], *world.events[seen_events:]])
        last = driver.transcripts[-1]
        assert texts(last) == [f"{what} {day}" for day in range(days) for what in ("day", "aside")]
        assert (last.chat_id, last.question, len(driver.transcripts)) == (
            "open",
            "since long ago",
            days * daily + 1,
        )

    def test_a_chat_that_begins_and_ends_in_a_batch_writes_no_message(self) -> None:
        world = World()
        world.request("c1")
        world.say("c1", "x" * 1_000)
        world.end("c1")
        driver = Driver()
        written = []
        for record in [*world.events, *world.routing]:
            driver.outputs += driver.processor.process(record)
        written = [key for key, _ in driver.processor.changes()]
        assert not any(key.startswith(b'["message"') for key in written)

    def test_a_tick_alone_writes_nothing(self) -> None:
        world = World()
        world.request("c1")
        driver = Driver()
        driver.feed(world.events)
        driver.processor.process(world.events[world.tick()])
        assert list(driver.processor.changes()) == []

    def test_a_long_chat_does_not_rewrite_itself(self) -> None:
        world = World()
        world.request("c1")
        for _ in range(100):
            world.say("c1", "x" * 1_000)
        driver = Driver()
        driver.feed(world.events)
        driver.processor.process(world.events[world.say("c1", "one more")])
        assert sum(len(value or b"") for _, value in driver.processor.changes()) < 1_000


def keys(driver: Driver) -> list[str]:
    return sorted(key.decode().split('"')[1] for key in driver.changelog)


def test_a_closing_without_its_request_gives_no_transcript() -> None:
    world = World()
    world.end("c9")
    world.request("c1")
    world.end("c1")
    assert [found.chat_id for found in run(world)] == ["c1"]
    assert all(record.topic == EVENTS for record in world.events)
