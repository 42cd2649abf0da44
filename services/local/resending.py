"""What became of mails, and a failed one sent again: its record is put back where it came from, under a source that says so.

The one rule: once is the notifier's doing, not ours. A record put back has a second life in its ledger under an id that follows
from the first (`core.again`), so twice, or by two people at the same time, is the same effect once more, which is none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas import codec
from schemas.envelope import from_ms, to_ms
from schemas.outcomes import MailSettled
from schemas.topics import ACTIVITIES, DELIVERIES, NOTICES, OWN_BYTES_MAX, TRANSCRIPTS
from services.local.display import visible
from services.local.errors import LocalError
from services.local.topic_log import TopicLog, reached, start
from services.notifier.core import AGAIN, RESENT, Rules, again, compose
from services.runtime.ports import InputRecord
from services.runtime.tracing import carried

OUTCOMES_MAX = 10_000
"""Outcomes of one chat, or of one mail, that are kept in memory."""
_CODECS = {NOTICES: codec.notices, TRANSCRIPTS: codec.transcripts, ACTIVITIES: codec.activities}
_IN = {"transcript": TRANSCRIPTS, "crm_note": ACTIVITIES}
"""Where the records stand that mails follow from; of all other kinds in `NOTICES`."""
_MARK = b'"source":"%s"' % RESENT.encode()
_NAMELESS = Rules(salt=b"", link=lambda *_about: "")
"""Enough to tell the id of a mail."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mail to one recipient, whose hash is all that is known here."""

    workspace_id: str
    at_ms: int
    settled: MailSettled

    def told(self) -> dict[str, str | None]:
        """Return it as it is shown."""
        settled = self.settled
        return {
            "at": from_ms(self.at_ms),
            "workspace": self.workspace_id,
            "notice": settled.notice_id,
            "kind": settled.kind,
            "recipient": settled.recipient,
            "result": settled.result,
            "code": settled.code,
        }


def is_resent(record: InputRecord) -> bool:
    """Whether a record was put back by an operator. No text can look like the mark: quotes within one are escaped."""
    return _MARK in (record.value or b"")


async def outcomes_of_chat(bootstrap: str, chat_id: str, *, workspace_id: str | None) -> list[Outcome]:
    """Return what became of a chat's mails, oldest first. Raises LocalError when Kafka fails, or several workspaces have the chat."""
    return await _outcomes(bootstrap, "chat_id", (chat_id,), workspace_id=workspace_id)


async def resend(bootstrap: str, notice_id: str, *, workspace_id: str | None) -> bool:
    """Put a mail's record back, if it failed for somebody; return whether that was done, which it is not a second time.

    Raises LocalError when there is no such mail, nobody lacks it, its record is past its retention, or Kafka fails.
    """
    wanted = (notice_id, again(notice_id))
    outcomes = await _outcomes(bootstrap, "notice_id", wanted, workspace_id=workspace_id)
    first = [each for each in outcomes if each.settled.notice_id == notice_id]
    if not first:
        raise LocalError(f"No mail {visible(notice_id)} has an outcome: `deliveries --chat` names a chat's.")
    if all(each.settled.result == "sent" for each in first):
        raise LocalError(f"Mail {visible(notice_id)} was sent to everybody: there is nothing to send again.")
    if len(first) < len(outcomes) or notice_id.endswith(AGAIN):
        return False
    record = await _record_of(bootstrap, first[0])
    if record is None:
        return False
    await _put_back(bootstrap, record)
    return True


async def _outcomes(
    bootstrap: str, field: str, wanted: tuple[str, ...], *, workspace_id: str | None
) -> list[Outcome]:
    found: dict[tuple[str, str, str], Outcome] = {}
    needles = [orjson.dumps(text) for text in wanted]
    async with TopicLog(bootstrap, (DELIVERIES,)) as log:
        async for record in log.stream():
            if not any(needle in (record.value or b"") for needle in needles):
                continue
            for outcome in _read(record):
                if getattr(outcome.settled, field) in wanted and workspace_id in (None, outcome.workspace_id):
                    # One that may not have been written is written again under its id.
                    settled = outcome.settled
                    key = (outcome.workspace_id, settled.notice_id, settled.recipient)
                    found.setdefault(key, outcome)
            if len(found) > OUTCOMES_MAX:
                raise LocalError(f"There are more than {OUTCOMES_MAX} outcomes: say which with --workspace.")
    names = sorted({visible(each.workspace_id) for each in found.values()})
    if len(names) > 1:
        raise LocalError(f"Several workspaces have one ({', '.join(names)}): say which with --workspace.")
    return sorted(found.values(), key=lambda each: each.at_ms)


def _read(record: InputRecord) -> Iterator[Outcome]:
    try:
        envelope = codec.deliveries.decode(record.value)
    except (codec.Poison, codec.UnknownType):
        return
    yield Outcome(envelope.workspaceid, to_ms(envelope.time), envelope.data)


async def _record_of(bootstrap: str, outcome: Outcome) -> InputRecord | None:
    """The record a mail followed from; None when it has been put back before, and the notifier is at it."""
    settled = outcome.settled
    found: InputRecord | None = None
    async with TopicLog(bootstrap, (_IN.get(settled.kind, NOTICES),)) as log:
        async for record in log.stream():
            if record.key == outcome.workspace_id.encode() and _effect_of(record) == settled.notice_id:
                if is_resent(record):
                    return None
                found = record
    if found is None:
        raise LocalError(
            f"The record of mail {visible(settled.notice_id)} is past its retention: it can't be sent again."
        )
    return found


def _effect_of(record: InputRecord) -> str | None:
    try:
        mail = compose(_CODECS[record.topic].decode(record.value), _NAMELESS)
    except (codec.Poison, codec.UnknownType):
        return None
    return None if mail is None else mail.effect_id


async def _put_back(bootstrap: str, record: InputRecord) -> None:
    envelope: dict[str, Any] = orjson.loads(record.value or b"")
    producer = AIOKafkaProducer(
        **reached(bootstrap).client(), enable_idempotence=True, max_request_size=OWN_BYTES_MAX
    )
    await start(producer, bootstrap)
    try:
        value = orjson.dumps({**envelope, "source": RESENT})
        await producer.send_and_wait(
            record.topic,
            value,
            key=record.key,
            partition=record.partition,
            headers=list(carried(record.headers)),
        )
    except KafkaError as error:
        raise LocalError(
            f"Kafka has not said that it took the record ({type(error).__name__}): run it again; nothing is sent twice."
        ) from error
    finally:
        await producer.stop()
