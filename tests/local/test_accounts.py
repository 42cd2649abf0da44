"""The books of a run: what is counted, and what is found to be lost."""

from typing import Any

import pytest

from schemas import codec
from schemas.decisions import (
    ChatClosed,
    ChatOffered,
    ChatTransferred,
    ChatUnassigned,
    DepartmentRef,
    MailPlan,
    Position,
    RequestRefused,
    TransferFailed,
    Why,
)
from schemas.events import ChatMessage, ChatNoteAdded, ChatRequested, Sender, Visitor
from schemas.notices import Letter, NoticeCrmConfigured, NoticeFeedback
from schemas.outcomes import CrmSettled, MailSettled
from schemas.topics import ACTIVITIES, DELIVERIES, EVENTS, NOTICES, ROUTING, TRANSCRIPTS
from schemas.transcripts import TranscriptCompleted
from services.local.accounts import Accounts
from services.runtime.deadletter import dead_letter
from services.runtime.ports import InputRecord

AT = "2026-11-21T00:00:00.000Z"
DESK = DepartmentRef("desk", "Desk")
PLAN = MailPlan("en", "UTC", transcript=("a@desk.example.com, b@desk.example.com", "A@desk.example.com"))


def record(topic: str, data: Any, *, event_id: str = "e") -> InputRecord:
    value = codec.encode(data, event_id=event_id, source="/test", at_ms=0, workspace_id="acme")
    return InputRecord(topic, 0, 0, 0, b"acme", value)


def requested(chat_id: str = "c") -> InputRecord:
    return record(EVENTS, ChatRequested(chat_id, "web", "?", Visitor("v")), event_id=f"r-{chat_id}")


def closed(outcome: Any = "handled") -> InputRecord:
    data = ChatClosed(
        chat_id="c",
        revision=1,
        outcome=outcome,
        ended_by="agent",
        started_at=AT,
        ended_at=AT,
        agents=(),
        department=DESK,
        visitor=Visitor("v"),
        email=PLAN,
        source=Position(0, 0),
    )
    return record(ROUTING, data)


def transcript(outcome: Any = "handled") -> InputRecord:
    data = TranscriptCompleted(
        chat_id="c",
        revision=1,
        part=1,
        parts=1,
        outcome=outcome,
        question="?",
        channel="web",
        visitor=Visitor("v"),
        department=DESK,
        agents=(),
        started_at=AT,
        ended_at=AT,
        messages=(),
        tags=(),
        email=PLAN,
        link="http://127.0.0.1/",
    )
    return record(TRANSCRIPTS, data)


def mailed(recipient: str) -> InputRecord:
    return record(DELIVERIES, MailSettled("n", "transcript", recipient, "sent", chat_id="c"))


def lost(*records: InputRecord) -> list[str]:
    books = Accounts()
    books.take(records)
    return books.lost()


def test_each_step_that_is_missing_is_named() -> None:
    assert lost(requested()) == ["chat c of acme has no outcome"]
    assert lost(requested(), closed()) == ["chat c of acme, revision 1, has no transcript"]
    assert lost(requested(), closed(), transcript()) == ["2 mails about c of acme are not settled"]
    done = (requested(), closed(), transcript(), mailed("one"))
    assert lost(*done) == ["1 mails about c of acme are not settled"]
    assert lost(*done, mailed("two")) == []


def test_a_missed_chat_has_no_transcript_mail() -> None:
    assert lost(requested(), closed("missed"), transcript("missed")) == []


def test_a_refused_request_is_not_waited_for() -> None:
    refusal = RequestRefused(
        request_id="r-c", request_type="chat.requested.v1", code="visitor_blocked", message=""
    )
    books = Accounts()
    books.take([requested(), record(ROUTING, refusal)])
    assert (books.chats, books.lost()) == (0, [])


def test_a_workspace_with_a_crm_waits_for_its_entries() -> None:
    configured = NoticeCrmConfigured(
        notice_id="n",
        connector="embedded",
        lead_policy="always",
        match_order="leads_first",
        match_many="newest",
        layouts=codec.events.decode(
            b'{"specversion":"1.0","id":"e","source":"/t","type":"crm.configured.v1","time":"2026-11-21T00:00:00Z",'
            b'"workspaceid":"acme","data":{"connector":"embedded"}}'
        ).data.layouts,
    )
    done = (record(NOTICES, configured), requested(), closed("missed"), transcript("missed"))
    assert lost(*done) == ["chat c of acme, revision 1, has no outcome in the CRM"]
    settled = record(ACTIVITIES, CrmSettled("activity", "no_match", chat_id="c", revision=1))
    assert lost(*done, settled) == []
    books = Accounts()
    books.take([*done, settled])
    assert (books.activities, books.unmatched) == (0, 1)


def test_a_notice_is_settled_for_everybody_it_goes_to() -> None:
    notice = NoticeFeedback(
        notice_id="n1",
        chat_id="c",
        rating=5,
        given_at=AT,
        department=DESK,
        letter=Letter(("a@desk.example.com, b@desk.example.com",), "en", "UTC"),
        visitor=Visitor("v"),
    )
    one = record(DELIVERIES, MailSettled("n1", "feedback", "hash-1", "sent"))
    failed = record(DELIVERIES, MailSettled("n1", "feedback", "hash-2", "failed", code="550"))
    assert lost(record(NOTICES, notice), one) == ["1 mails about n1 of acme are not settled"]
    books = Accounts()
    books.take([record(NOTICES, notice), one, failed])
    assert books.lost() == []
    assert (books.mails["feedback"], books.mails_failed) == (1, 1)


def test_one_record_refused_by_two_readers_is_one_dead_letter() -> None:
    refused = InputRecord(EVENTS, 0, 7, 0, b"acme", b"nonsense")
    topic, row = dead_letter(refused, codec.Poison("not JSON"))
    letter = InputRecord(topic, 0, 0, 0, row.key, row.value, row.headers)
    books = Accounts()
    books.take([letter, letter])
    assert books.dead_letters == 1


@pytest.mark.parametrize(
    ("end", "counted"),
    [
        (ChatTransferred(chat_id="c", from_agent_id="ann", to_agent_id="bob"), "taken"),
        (TransferFailed(chat_id="c", from_agent_id="ann", reason="declined"), "failed"),
        (ChatUnassigned(chat_id="c", agent_id="ann", reason="agent_offline", generation=1), "overtaken"),
    ],
)
def test_a_transfer_that_does_not_end_is_lost(end: Any, counted: str) -> None:
    offer = ChatOffered(chat_id="c", offer_id="o", agent_ids=("bob",), kind="transfer", why=Why("transfer"))
    assert lost(record(ROUTING, offer)) == ["the transfer of chat c of acme has not ended"]
    books = Accounts()
    books.take([record(ROUTING, offer), record(ROUTING, end), record(ROUTING, end)])
    assert books.lost() == []
    assert books.transfers == {counted: 1}


def test_notes_count_unless_they_are_refused() -> None:
    refusal = RequestRefused(
        request_id="n2", request_type="chat.note_added.v1", code="not_permitted", message=""
    )
    notes = [
        record(EVENTS, ChatNoteAdded("c", each, "ann", "!"), event_id=each) for each in ("n1", "n1", "n2")
    ]
    books = Accounts()
    books.take([*notes, record(ROUTING, refusal)])
    assert books.notes == 1
    assert books.refusals == {"chat.note_added.v1": 1}


def test_whispers_are_known_with_the_pages_that_must_not_show_them() -> None:
    said = [
        record(EVENTS, ChatMessage(chat_id, "m", Sender("agent", "ann"), text, internal), event_id=text)
        for chat_id, text, internal in (("c", "psst", True), ("c", "Hello", False), ("d", "Hi", False))
    ]
    books = Accounts()
    books.take([*said, transcript()])
    assert books.whispers == ["psst"]
    assert books.whispered_links == ["http://127.0.0.1/"]
