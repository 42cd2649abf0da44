"""The invariant checker: silent over a sound run, and it names every mistake that is planted into one."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from schemas import codec
from schemas.decisions import ChatAssigned, ChatClosed, ChatOffered, ChatUnassigned
from schemas.envelope import Envelope
from schemas.events import AgentConfigured, AgentPresence, ChatRequested, DepartmentConfigured, Event, Visitor
from schemas.types import Outcome
from services.router.core.fold import differences
from services.router.core.invariants import Checker, Recorded, Violation
from services.router.core.partition import Entry, Partition
from tests.local.rehearsed import recorded, rehearsal, split

CHATS = 400
PARTITION = 1


def entries() -> list[Entry]:
    _, records = rehearsal(CHATS)
    return [one.entry for one in records if one.entry.partition == PARTITION]


def violations(
    decisions: list[Recorded], notices: list[Recorded], read: list[Entry] | None = None
) -> list[Violation]:
    checker = Checker(PARTITION, decisions=decisions, notices=notices)
    for entry in entries() if read is None else read:
        checker.enter(entry)
    return checker.finish()


def test_a_sound_run_breaks_nothing_and_folds_to_the_routers_state() -> None:
    acted, records = rehearsal(CHATS)
    assert len(acted.lanes) == 3
    for number, lane in acted.lanes.items():
        decisions, notices = split(records, number)
        assert decisions
        checker = Checker(number, decisions=decisions, notices=notices)
        for one in records:
            if one.entry.partition == number:
                checker.enter(one.entry)
        assert checker.finish() == []
        assert differences(checker.fold.partition, lane.router) == []


def test_a_state_that_differs_is_named() -> None:
    acted, _ = rehearsal(CHATS)
    decisions, notices = split(rehearsal(CHATS)[1], PARTITION)
    checker = Checker(PARTITION, decisions=decisions, notices=notices)
    for entry in entries():
        checker.enter(entry)
    folded = checker.fold.partition
    workspace_id, ws = next(iter(folded.workspaces.items()))
    agent_id = min(ws.agents)
    ws.agents[agent_id].load += 1
    del ws.chats[min(ws.chats)]
    assert differences(folded, acted.lanes[PARTITION].router) == [
        f"workspace {workspace_id}: agent {agent_id}: load",
        f"workspace {workspace_id}: chat {min(acted.lanes[PARTITION].router.workspaces[workspace_id].chats)}: stands in one only",
    ]


def at(decisions: list[Recorded], kind: type, nth: int = 5) -> int:
    """Where the nth decision of a kind stands."""
    return [place for place, item in enumerate(decisions) if isinstance(item.data, kind)][nth]


def lose_one(decisions: list[Recorded]) -> None:
    del decisions[at(decisions, ChatClosed)]


def write_one_twice(decisions: list[Recorded]) -> None:
    place = at(decisions, ChatAssigned)
    decisions.insert(place, decisions[place])


def swap_two(decisions: list[Recorded]) -> None:
    place = at(decisions, ChatClosed)
    decisions[place], decisions[-1] = decisions[-1], decisions[place]


def invent_one(decisions: list[Recorded]) -> None:
    place = at(decisions, ChatClosed)
    decisions.insert(place, replace(decisions[place], id="A" * 26))


def give_another_cause(decisions: list[Recorded]) -> None:
    place = at(decisions, ChatOffered)
    item = decisions[place]
    cause = item.data.cause
    assert cause is not None
    decisions[place] = replace(item, data=replace(item.data, cause=replace(cause, event_id="another")))


@pytest.mark.parametrize("plant", [lose_one, write_one_twice, swap_two, invent_one, give_another_cause])
def test_records_lost_doubled_or_invented_break_the_sixth(plant: Callable[[list[Recorded]], None]) -> None:
    decisions, notices = split(rehearsal(CHATS)[1], PARTITION)
    plant(decisions)
    assert 6 in {broken.invariant for broken in violations(decisions, notices)}


def changed(decisions: list[Recorded], kind: type, **fields: object) -> list[Recorded]:
    """The decisions with one of a kind saying something else under the id it had."""
    place = at(decisions, kind)
    item = decisions[place]
    decisions[place] = replace(item, data=replace(item.data, **fields))  # type: ignore[arg-type]
    return decisions


def test_a_second_owner_breaks_the_first() -> None:
    decisions, notices = split(rehearsal(CHATS)[1], PARTITION)
    earlier = decisions[at(decisions, ChatAssigned, 4)].data
    assert isinstance(earlier, ChatAssigned)
    found = violations(changed(decisions, ChatAssigned, chat_id=earlier.chat_id), notices)
    assert 1 in {broken.invariant for broken in found}


def test_taking_a_chat_from_somebody_else_breaks_the_first() -> None:
    decisions, notices = split(rehearsal(CHATS)[1], PARTITION)
    place = next(at for at, item in enumerate(decisions) if isinstance(item.data, ChatUnassigned))
    item = decisions[place]
    assert isinstance(item.data, ChatUnassigned)
    decisions[place] = replace(item, data=replace(item.data, agent_id="somebody-else"))
    assert 1 in {broken.invariant for broken in violations(decisions, notices)}


def test_an_outcome_of_a_chat_nobody_requested_breaks_the_third() -> None:
    decisions, notices = split(rehearsal(CHATS)[1], PARTITION)
    found = violations(changed(decisions, ChatClosed, chat_id="never-requested"), notices)
    assert Violation(3, "never-requested", "chat.closed.v1 about a chat that nobody requested") in found


def test_another_outcome_than_the_missed_chat_says_breaks_the_third() -> None:
    decisions, notices = split(rehearsal(CHATS)[1], PARTITION)
    closed = next(item.data for item in decisions if isinstance(item.data, ChatClosed))
    wrong: Outcome = "handled" if closed.outcome == "missed" else "missed"
    place = at(decisions, ChatClosed, 0)
    decisions[place] = replace(decisions[place], data=replace(closed, outcome=wrong))
    assert 3 in {broken.invariant for broken in violations(decisions, notices)}


def with_capacity(read: list[Entry], max_chats: int) -> list[Entry]:
    """The log with agents who may take so many chats."""
    changed = []
    for entry in read:
        envelope = entry.envelope
        if isinstance(envelope, Envelope) and isinstance(envelope.data, AgentConfigured):
            data = replace(envelope.data, max_chats=max_chats)
            changed.append(replace(entry, envelope=replace(envelope, data=data)))
        else:
            changed.append(entry)
    return changed


def test_smaller_capacities_than_the_router_knew_break_the_second() -> None:
    decisions, notices = split(rehearsal(CHATS)[1], PARTITION)
    found = violations(decisions, notices, with_capacity(entries(), 1))
    assert 2 in {broken.invariant for broken in found}


def test_larger_capacities_than_the_router_knew_break_the_fourth() -> None:
    """Somebody has room all the time, and chats wait."""
    crowded = rehearsal(2_000)[1]
    decisions, notices = split(crowded, PARTITION)
    read = [one.entry for one in crowded if one.entry.partition == PARTITION]
    assert 4 in {broken.invariant for broken in violations(decisions, notices, with_capacity(read, 50))}


def small_log() -> list[Entry]:
    """Two chats wait for one agent, who comes."""
    happenings: list[Event] = [
        AgentConfigured("ann", "Ann", max_chats=1),
        DepartmentConfigured("desk", "Desk", agent_ids=("ann",)),
        ChatRequested("first", "web", "?", Visitor("v1"), department_id="desk"),
        ChatRequested("second", "web", "?", Visitor("v2"), department_id="desk"),
        AgentPresence("ann", "online"),
    ]
    return [
        Entry(
            codec.events.decode(
                codec.encode(data, event_id=f"e{offset}", source="/test", at_ms=offset, workspace_id="acme")
            ),
            PARTITION,
            offset,
            offset,
        )
        for offset, data in enumerate(happenings)
    ]


def test_serving_the_later_chat_breaks_the_fifth() -> None:
    router = Partition(PARTITION)
    decisions = [recorded(item) for entry in small_log() for item in router.apply(entry)]
    assert violations(list(decisions), [], small_log()) == []
    place = at(decisions, ChatOffered, 0)
    offered = decisions[place].data
    assert isinstance(offered, ChatOffered)
    assert offered.chat_id == "first"
    decisions[place] = replace(decisions[place], data=replace(offered, chat_id="second"))
    assert violations(decisions, [], small_log()) == [
        Violation(5, "second", "goes to ann before first, which is older")
    ]


def test_a_decision_that_cannot_be_applied_breaks_the_seventh() -> None:
    decisions, notices = split(rehearsal(CHATS)[1], PARTITION)
    found = violations(changed(decisions, ChatOffered, agent_ids=("nobody",)), notices)
    assert 7 in {broken.invariant for broken in found}
