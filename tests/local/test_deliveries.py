"""Outcomes of mails on a real Kafka: shown by chat, and a failed mail put back once."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner, Result

from schemas import codec
from schemas.envelope import to_ms
from schemas.outcomes import MailSettled
from schemas.topics import ACTIVITIES, DELIVERIES, NOTICES, TRANSCRIPTS, Topic
from services.local.cli import app
from services.local.errors import LocalError
from services.local.resending import is_resent
from services.local.topic_log import TopicLog
from services.local.topics import ensure_topics
from services.notifier.core import RESENT, again, compose
from services.runtime.ports import InputRecord
from tests.notifier.samples import RULES, crm_settled, envelope, feedback, transcript, unattended

SENT_FROM = {
    NOTICES: (unattended(notice_id="n1"), feedback(notice_id="n2", chat_id="c2")),
    TRANSCRIPTS: (transcript(),),
    ACTIVITIES: (crm_settled(),),
}
"""What mails follow from, all in workspace acme."""
TRACED = (("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)


def _encoded(data: Any, *, workspace_id: str, event_id: str, at_ms: int = 1_000) -> bytes:
    return codec.encode(
        data, event_id=event_id, source="/services/router", at_ms=at_ms, workspace_id=workspace_id
    )


def _effects() -> list[tuple[str, str, str | None]]:
    """Return the id, kind and chat of each mail."""
    mails = [compose(envelope(data), RULES) for of_topic in SENT_FROM.values() for data in of_topic]
    return [(mail.effect_id, mail.kind, mail.chat_id) for mail in mails if mail is not None]


async def _prepare(bootstrap: str) -> None:
    names = (*SENT_FROM, DELIVERIES)
    await ensure_topics(bootstrap, partitions=3, replicas=1, topics=tuple(Topic(name, {}) for name in names))
    records: list[tuple[str, str, bytes]] = []
    for topic, of_topic in SENT_FROM.items():
        at_ms = to_ms(envelope(of_topic[0]).time)
        records += [
            (topic, "acme", _encoded(each, workspace_id="acme", event_id="e1", at_ms=at_ms))
            for each in of_topic
        ]
    outcomes: list[Any] = [
        MailSettled(effect_id, kind, f"r{number}", "failed", chat_id, "smtp_550")  # type: ignore[arg-type]
        for number, (effect_id, kind, chat_id) in enumerate(_effects())
    ]
    outcomes.append(MailSettled("n1", "unattended", "other", "sent", "c1"))
    outcomes.append(MailSettled("whole", "reply", "r9", "sent", "c9"))
    outcomes.append(MailSettled("gone", "reply", "r9", "failed", "c9", "smtp_550"))
    for number, each in enumerate([*outcomes, outcomes[0]]):
        value = _encoded(
            each, workspace_id="acme", event_id=f"o{each.notice_id}{each.recipient}", at_ms=number
        )
        records.append((DELIVERIES, "acme", value))
    twin = MailSettled("n2", "feedback", "r1", "failed", "c2", "smtp_550")
    records.append((DELIVERIES, "bell", _encoded(twin, workspace_id="bell", event_id="o")))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for topic, key, value in records:
            await producer.send_and_wait(topic, value, key=key.encode(), headers=list(TRACED))
    finally:
        await producer.stop()


def _run(bootstrap: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["deliveries", *arguments, "--bootstrap", bootstrap])


async def _put_back(bootstrap: str) -> list[Any]:
    """Return the envelopes that were put back, each in the trace it was in before."""
    async with TopicLog(bootstrap, SENT_FROM) as log:
        records = [record for record in await log.catch_up() if is_resent(record)]
    assert {record.headers for record in records} == {TRACED}
    kinds = {NOTICES: codec.notices, TRANSCRIPTS: codec.transcripts, ACTIVITIES: codec.activities}
    return [kinds[record.topic].decode(record.value) for record in records]


@pytest.mark.kafka
def test_outcomes_are_shown_and_a_failed_mail_is_put_back_once(own_kafka: str) -> None:
    asyncio.run(_prepare(own_kafka))

    told = [json.loads(line) for line in _run(own_kafka, "--chat", "c1", "--json").stdout.splitlines()]
    assert [(each["kind"], each["recipient"], each["result"], each["code"]) for each in told] == [
        ("unattended", "r0", "failed", "smtp_550"),
        ("transcript", "r2", "failed", "smtp_550"),
        ("crm_note", "r3", "failed", "smtp_550"),
        ("unattended", "other", "sent", None),
    ], "each once, oldest first"
    assert told[0]["at"] == "1970-01-01T00:00:00.000Z"
    table = _run(own_kafka, "--chat", "c1").stdout
    assert "smtp_550" in table
    assert "No mail about chat c7" in _run(own_kafka, "--chat", "c7").stdout
    assert "say which chat" in _run(own_kafka).output

    for arguments, said in (
        (("--chat", "c2"), r"Several workspaces have one \(acme, bell\)"),
        (("resend", "n2"), r"Several workspaces have one \(acme, bell\)"),
        (("resend", "none"), "No mail none has an outcome"),
        (("resend", "whole"), "was sent to everybody"),
        (("resend", "gone"), "past its retention"),
    ):
        with pytest.raises(LocalError, match=said):
            CliRunner().invoke(
                app,
                ["deliveries", *arguments, "--bootstrap", own_kafka],
                catch_exceptions=False,
                standalone_mode=False,
            )

    for effect_id, _kind, _chat in _effects():
        for expected in ("It will be sent again.\n", "It has been sent again before: nothing is done.\n"):
            assert _run(own_kafka, "resend", effect_id, "--workspace", "acme").stdout == expected
    found = asyncio.run(_put_back(own_kafka))
    assert {each.source for each in found} == {RESENT}
    assert [replace(each, source="/services/router", data=each.data) for each in found] == [
        replace(envelope(each.data), id="e1", source="/services/router") for each in found
    ]
    mails = [compose(each, RULES) for each in found]
    assert {mail.effect_id for mail in mails if mail is not None} == {
        each for each, _kind, _chat in _effects()
    }


@pytest.mark.kafka
def test_a_second_life_has_no_third(own_kafka: str) -> None:
    asyncio.run(_second_life(own_kafka))
    assert _run(own_kafka, "resend", again("n7")).stdout.startswith("It has been sent again before")
    assert _run(own_kafka, "resend", "n7").stdout.startswith("It has been sent again before")


async def _second_life(bootstrap: str) -> None:
    await ensure_topics(bootstrap, partitions=3, replicas=1, topics=(Topic(DELIVERIES, {}),))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for notice_id in ("n7", again("n7")):
            data = MailSettled(notice_id, "reply", "r7", "failed", "c7x", "smtp_550")
            value = _encoded(data, workspace_id="acme", event_id=notice_id)
            await producer.send_and_wait(DELIVERIES, value, key=b"acme")
    finally:
        await producer.stop()


def test_no_text_passes_for_the_mark_of_what_was_put_back() -> None:
    hostile = feedback(comment=f'"source":"{RESENT}"')
    value = _encoded(hostile, workspace_id="acme", event_id="e")
    record = InputRecord(NOTICES, 0, 0, 0, b"acme", value)
    assert not is_resent(record)
    back = replace(record, value=value.replace(b"/services/router", RESENT.encode()))
    assert is_resent(back)
