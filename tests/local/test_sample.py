"""The sample day: the same seed gives the same bytes, and everything it promises occurs in it."""

import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import get_args

import pytest

from schemas.decisions import (
    ChatAssigned,
    ChatClosed,
    ChatMissed,
    ChatOffered,
    ChatTransferred,
    ChatUnassigned,
    RequestRefused,
    TransferFailed,
)
from schemas.events import (
    AgentPresence,
    ChatEndRequested,
    ChatMessage,
    ChatRequested,
    DepartmentConfigured,
    Event,
    RouterTick,
)
from schemas.types import MissedReason
from services.local import sample_day, scenario
from services.local.arrivals import Bin, arrival_times, built_in_curve, read_curve
from services.local.errors import LocalError
from services.local.rehearsal import Rehearsed
from services.local.sample_staff import BLOCKED_ADDRESS
from tests.local.rehearsed import day, rehearsal

CHATS = 2_000
FEW = 200
GRACE_MS = 60_000 // 40
"""The departments' grace time at the day's pace."""
DEEDS = {
    "chat.assigned.v1/manual",
    "chat.assigned.v1/transfer",
    "chat.transferred.v1",
    "transfer.failed.v1/declined",
    "participant.joined.v1/participant",
    "participant.joined.v1/monitor",
    "participant.left.v1",
    "monitor.matched.v1",
    "monitor.unmatched.v1",
    "message/whisper",
    "chat.end_requested.v1/later",
    "chat.reopened.v1",
    "missed.updated.v1/assigned",
    "missed.updated.v1/closed",
    "missed.updated.v1/deleted",
    "notice.reply.v1",
    "chat.tagged.v1",
    "chat.note_added.v1",
    "notice.crm_requested.v1/lead",
    "notice.crm_requested.v1/note",
    "notice.crm_requested.v1/phone",
    "crm.phone_set.v1 not_permitted",
    "visitor.ip_unblocked.v1",
    "chat.feedback.v1",
    "offer by sticky",
    "asks for a skill",
    "from the network that was blocked",
}
"""What a day of any size shows."""


PROGRAM = """
import sys
from pathlib import Path
from services.local.commands.sample import sample
sample(150, 7, out=Path(sys.argv[1]))
sample(60, 7, day_s=4, pace=40, resolved=True, tick_s=0.1, out=Path(sys.argv[2]))
"""


def sampled(folder: Path, *, hash_seed: str) -> tuple[bytes, bytes]:
    files = (folder / f"{hash_seed}.scenario", folder / f"{hash_seed}.log")
    subprocess.run(
        [sys.executable, "-c", PROGRAM, *files], env={**os.environ, "PYTHONHASHSEED": hash_seed}, check=True
    )
    return files[0].read_bytes(), files[1].read_bytes()


def test_the_same_seed_gives_the_same_bytes_under_any_hash_seed(tmp_path: Path) -> None:
    one = sampled(tmp_path, hash_seed="1")
    assert all(one)
    assert one == sampled(tmp_path, hash_seed="2")


def test_another_seed_gives_another_day() -> None:
    assert b"".join(scenario.write(day(50, 1))) != b"".join(scenario.write(day(50, 2)))


def test_a_written_scenario_reads_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    path.write_bytes(b"".join(scenario.write(day(80))))
    assert scenario.read(path) == day(80)


@pytest.mark.parametrize("broken", [b"{}\n", b"not JSON\n", b'{"line":"visit","at_ms":1}\n'])
def test_a_scenario_that_cannot_be_read_names_the_line(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "day.jsonl"
    lines = list(scenario.write(day(80)))
    path.write_bytes(lines[0] + broken)
    with pytest.raises(LocalError, match=r"day\.jsonl:2: "):
        scenario.read(path)


def occurring(records: tuple[Rehearsed, ...]) -> Counter[str]:
    found = Counter[str]()
    for one in records:
        _note_input(found, one.entry.envelope.data)
        for item in one.emitted:
            data = item.data
            found[data.TYPE] += 1
            for name in ("reason", "tag", "by", "code", "status", "role", "kind"):
                if isinstance(value := getattr(data, name, None), str):
                    found[f"{data.TYPE}/{value}"] += 1
            if isinstance(data, RequestRefused):
                found[f"{data.request_type} {data.code}"] += 1
            if isinstance(data, ChatOffered):
                found["offer to one" if len(data.agent_ids) == 1 else "ring all"] += 1
                found["offer by sticky"] += data.why.rule.endswith("/sticky")
                found.update(f"others: {reason}" for reason in data.why.others)
            if isinstance(data, ChatAssigned):
                found[f"{data.TYPE} in {data.department_id}"] += 1
                found.update(f"{data.TYPE}: {note}" for note in data.why.notes)
    return found


def _note_input(found: Counter[str], data: Event) -> None:
    found[data.TYPE] += 1
    if isinstance(data, ChatMessage):
        found[f"message/{'whisper' if data.internal else data.sender.kind}"] += 1
    elif isinstance(data, ChatEndRequested) and data.after_s:
        found["chat.end_requested.v1/later"] += 1
    elif isinstance(data, ChatRequested):
        found["asks for a skill"] += bool(data.skills)
        blocked = data.visitor.ip == BLOCKED_ADDRESS and not data.chat_id.endswith("-refused")
        found["from the network that was blocked"] += blocked


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_small_day_shows_everything_at_least_once(seed: int) -> None:
    """A demo of a few minutes, and each of the days that faults are tried on."""
    acted, records = rehearsal(FEW, seed)
    assert acted.open_chats == 0
    assert DEEDS - (+occurring(records)).keys() == set()


def test_acting_out_what_agents_do_together_costs_few_records() -> None:
    """Fault tests play several days at once, and the bench runs twelve."""
    _, records = rehearsal(CHATS)
    inputs = sum(1 for one in records if not isinstance(one.entry.envelope.data, RouterTick))
    assert inputs / CHATS < 10


def test_every_transfer_ends() -> None:
    _, records = rehearsal(CHATS)
    under_way: dict[str, None] = {}
    for one in records:
        for item in one.emitted:
            match item.data:
                case ChatOffered(kind="transfer"):
                    under_way[item.data.chat_id] = None
                case ChatTransferred() | TransferFailed() | ChatUnassigned() | ChatClosed():
                    under_way.pop(item.data.chat_id, None)
    assert under_way == {}


def test_whoever_is_back_within_the_grace_time_keeps_their_chats() -> None:
    _, records = rehearsal(CHATS)
    owned: defaultdict[str, set[str]] = defaultdict(set)
    gone: dict[str, tuple[int, set[str]]] = {}
    kept = 0
    for one in records:
        data = one.entry.envelope.data
        if isinstance(data, AgentPresence) and data.status == "offline":
            gone[data.agent_id] = (one.entry.at_ms, set(owned[data.agent_id]))
        elif isinstance(data, AgentPresence) and data.agent_id in gone:
            since_ms, had = gone.pop(data.agent_id)
            if one.entry.at_ms - since_ms < GRACE_MS:
                kept += len(had & owned[data.agent_id])
        for item in one.emitted:
            match item.data:
                case ChatAssigned():
                    owned[item.data.agent_id].add(item.data.chat_id)
                case ChatClosed():
                    for chats in owned.values():
                        chats.discard(item.data.chat_id)
                case ChatUnassigned():
                    owned[item.data.agent_id].discard(item.data.chat_id)
                    if item.data.reason == "agent_offline":
                        assert one.entry.at_ms - gone[item.data.agent_id][0] >= GRACE_MS
    assert kept, "somebody had chats when their connection was lost for a moment"


def test_every_chat_has_its_outcome_and_everything_occurs() -> None:
    acted, records = rehearsal(CHATS)
    assert acted.open_chats == 0
    found = occurring(records)
    outcomes = {
        item.data.chat_id: item.data.outcome
        for one in records
        for item in one.emitted
        if isinstance(item.data, ChatClosed)
    }
    assert len(outcomes) == CHATS
    assert set(outcomes.values()) == {"handled", "handled_by_bot", "missed"}
    wanted = {
        *DEEDS,
        "transfer.failed.v1/timed_out",
        "offer.withdrawn.v1/department_changed",
        "chat.assigned.v1: default: northwind-sales is disabled",
        "chat.assigned.v1 in fuji-lab",
        "others: lacks_skill",
        *(f"chat.missed.v1/{reason}" for reason in get_args(MissedReason)),
        "chat.missed.v1/unattended",
        "chat.missed.v1/bot_transfer_failed",
        "notice.unattended.v1",
        "notice.ip_blocked.v1",
        "notice.feedback.v1",
        "notice.crm_configured.v1",
        "offer to one",
        "ring all",
        "chat.assigned.v1/auto",
        "chat.assigned.v1/accept",
        "offer.withdrawn.v1/declined",
        "offer.withdrawn.v1/timed_out",
        "offer.withdrawn.v1/accepted_elsewhere",
        "chat.unassigned.v1/agent_offline",
        "chat.unassigned.v1/no_first_reply",
        "chat.queued.v1",
        "agent.marked_away.v1",
        "message/trigger",
        "visitor.updated.v1",
        "request.refused.v1/visitor_blocked",
    }
    assert wanted - (+found).keys() == set()
    assert found["chat.requested.v1"] == CHATS + 2, "one is repeated, one is refused"
    assert len(day(CHATS).poisoned) == 1


def test_transcripts_are_mailed_and_leads_are_matched_created_and_missing() -> None:
    """The settings and visitors that the mail and CRM workers need to show it all."""
    crm = {
        event.workspace_id: event.data
        for event in day(CHATS).events
        if event.data.TYPE == "crm.configured.v1"
    }
    assert {settings.lead_policy for settings in crm.values()} == {"always", "on_request"}  # type: ignore[union-attr]
    mailed = {
        event.data.department_id
        for event in day(CHATS).events
        if isinstance(event.data, DepartmentConfigured) and event.data.email.transcript.enabled
    }
    _, records = rehearsal(CHATS)
    closed = [item.data for one in records for item in one.emitted if isinstance(item.data, ChatClosed)]
    assert any(data.outcome == "handled" and data.department.id in mailed for data in closed)
    emails = Counter(
        data.visitor.email
        for data in closed
        if data.visitor.email and data.visitor.visitor_id.startswith("sakura")
    )
    assert emails.most_common(1)[0][1] > 1, "who comes back is matched"


def test_missed_chats_say_who_was_there() -> None:
    _, records = rehearsal(CHATS)
    missed = [item.data for one in records for item in one.emitted if isinstance(item.data, ChatMissed)]
    assert any(data.available_at_start and data.available_at_missed for data in missed)


def test_faster_divides_everything_people_wait_for() -> None:
    slow = sample_day.make(chats=30, seed=3, curve=built_in_curve())
    fast = scenario.faster(slow, 10)
    assert fast.head.starts_at_ms == slow.head.starts_at_ms
    assert fast.head.day_ms == slow.head.day_ms // 10
    timeouts = [
        (old.data.routing.offer_timeout_s, new.data.routing.offer_timeout_s)
        for old, new in zip(slow.events, fast.events, strict=True)
        if isinstance(old.data, DepartmentConfigured) and isinstance(new.data, DepartmentConfigured)
    ]
    assert timeouts
    assert all(new == old / 10 for old, new in timeouts)


# ---------------------------------------------------------------- arrivals


def test_arrivals_follow_the_weights_exactly() -> None:
    curve = [Bin(0, 1000, 1), Bin(1000, 2000, 0), Bin(2000, 3000, 3)]
    times = arrival_times(curve, count=8, day_ms=24 * 3600 * 1000, rng=Random(1))
    assert times == sorted(times)
    assert [sum(1 for time in times if part.start_ms <= time < part.end_ms) for part in curve] == [2, 0, 6]


def test_a_csv_gives_its_first_day(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    path.write_text(
        "rownames,DateTime,Calls\n1,2003-03-03T07:00:00Z,111\n2,2003-03-03T07:05:00Z,113\n3,2003-03-04T07:00:00Z,9\n"
    )
    start_ms, bin_ms = 7 * 3600 * 1000, 300 * 1000
    assert read_curve(path) == [
        Bin(start_ms, start_ms + bin_ms, 111),
        Bin(start_ms + bin_ms, start_ms + 2 * bin_ms, 113),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", ":2: the columns DateTime"),
        ("DateTime,Calls\n2003-03-03T07:00:00Z,many\n", ":2: the columns DateTime"),
        ("DateTime,Calls\n2003-03-03T07:00:00Z,-1\n", ":2: Calls must be"),
        ("DateTime,Calls\n2003-03-03T07:05:00Z,1\n2003-03-03T07:00:00Z,1\n", ":3: the bins of a day"),
        ("DateTime,Calls\n", "holds no arrivals"),
    ],
)
def test_a_bad_csv_says_where_and_what(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "calls.csv"
    path.write_text(text)
    with pytest.raises(LocalError, match=message):
        read_curve(path)
