"""A sample day on a real Kafka with the four workers, read back from every topic, from the mailbox and from the CRM's feed."""

import asyncio
import html
import subprocess
import sys
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from schemas import codec
from schemas.decisions import ChatMissed
from schemas.notices import NoticeReply
from schemas.topics import ACTIVITIES, DELIVERIES, NOTICES, ROUTING, TRANSCRIPTS
from schemas.transcripts import TranscriptCompleted
from services.crm_sync.connectors.embedded.connector import EmbeddedCrm
from services.crm_sync.connectors.embedded.views import FeedFilter
from services.local import sample_day
from services.local.arrivals import built_in_curve
from services.local.demo import PACE, TICK_INTERVAL_MS, Outcome, act_out
from services.local.docs import EXAMPLE
from services.local.export import export
from services.local.installation import Installation
from services.local.story import chat_log, why_not
from services.local.story.chat_log import ChatLog
from services.local.story.teller import tell
from services.local.story.why_not import Moment
from services.local.story.words import Words
from services.local.topic_log import TopicLog
from services.runtime.ports import InputRecord

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

CHATS = 250
DAY_MS = 8_000
LIMIT_S = 60.0
READ_BACK = (ROUTING, NOTICES, TRANSCRIPTS, DELIVERIES, ACTIVITIES)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Return a whole installation, which the tests of this file share."""
    overrides = {"CHAT_TICK_INTERVAL_MS": str(TICK_INTERVAL_MS)}
    with Installation(tmp_path_factory.mktemp("day"), partitions=4, overrides=overrides) as running:
        yield running


@pytest.fixture(scope="module")
def outcome(installation: Installation) -> Outcome:
    """Return what a played day came to."""
    day = sample_day.make(chats=CHATS, seed=7, curve=built_in_curve(), day_ms=DAY_MS, pace=PACE)
    return asyncio.run(act_out(day, installation, group="chat-router"))


@pytest.fixture(scope="module")
def records(installation: Installation, outcome: Outcome) -> dict[str, list[InputRecord]]:
    """Return what the topics hold after the day."""
    assert outcome.accounts.chats == CHATS

    async def read() -> dict[str, list[InputRecord]]:
        async with TopicLog(installation.bootstrap, READ_BACK) as log:
            await log.catch_up()
            return {topic: list(log.all_of(topic)) for topic in READ_BACK}

    return asyncio.run(read())


def test_nothing_is_lost_and_no_invariant_broken(outcome: Outcome) -> None:
    assert outcome.failures() == []
    assert outcome.line.startswith(f"demo ok: chats={CHATS} handled=")
    assert outcome.line.endswith("dead_letters=1 lost=0 violations=0")


def test_every_mail_lies_in_the_mailbox_once(
    installation: Installation, outcome: Outcome, records: dict[str, list[InputRecord]]
) -> None:
    mails = installation.mailbox.mails()
    delivered = Counter(
        (mail.message["Message-ID"], recipient) for mail in mails for recipient in mail.recipients
    )
    assert set(delivered.values()) == {1}
    settled = [codec.deliveries.decode(record.value).data for record in records[DELIVERIES]]
    assert len(delivered) == sum(1 for each in settled if each.result == "sent")
    assert len({mail.message["Message-ID"] for mail in mails}) == outcome.accounts.mails.total()


def test_answers_to_missed_chats_lie_in_their_visitors_mailboxes(
    installation: Installation, records: dict[str, list[InputRecord]]
) -> None:
    answers = [codec.notices.decode(record.value).data for record in records[NOTICES]]
    wanted = [
        (to, answer.text) for answer in answers if isinstance(answer, NoticeReply) for to in answer.letter.to
    ]
    assert wanted
    told = [(mail.recipients, mail.message.get_body(("plain",))) for mail in installation.mailbox.mails()]
    for to, text in wanted:
        assert any(to in recipients and body and text in body.get_content() for recipients, body in told), to


def test_whispers_reach_no_visitor(
    installation: Installation, outcome: Outcome, records: dict[str, list[InputRecord]]
) -> None:
    whispers = set(outcome.accounts.whispers)
    transcripts = [codec.transcripts.decode(record.value).data for record in records[TRANSCRIPTS]]
    whispered = [one for one in transcripts if any(said.text in whispers for said in one.messages)]
    assert whispered, "the transcript for agents holds them, marked"
    assert all(said.internal == (said.text in whispers) for one in whispered for said in one.messages)
    for one in whispered:
        with urllib.request.urlopen(one.link, timeout=LIMIT_S) as page:
            shown = html.unescape(page.read().decode())
        assert all((said.text in shown) != said.internal for said in one.messages)
    for mail in installation.mailbox.mails():
        body = mail.message.get_body(("plain",))
        assert body is not None
        assert not any(whisper in body.get_content() for whisper in whispers)
    for name, holds in (("archive", True), ("crm", False)):
        kept = b"".join(path.read_bytes() for path in sorted(installation.data.glob(f"{name}.db*")))
        assert any(whisper.encode() in kept for whisper in whispers) == holds, name


def test_transfers_end_and_notes_are_archived(outcome: Outcome) -> None:
    books = outcome.accounts
    assert books.transfers["taken"]
    assert books.transfers["failed"]
    assert books.joined["participant"]
    assert outcome.archived_notes == books.notes > 0


def test_every_activity_note_and_ticket_stands_in_the_crm_once(
    installation: Installation, records: dict[str, list[InputRecord]]
) -> None:
    settled = [codec.activities.decode(record.value) for record in records[ACTIVITIES]]
    done = Counter(
        (each.workspaceid, each.data.kind == "ticket")
        for each in settled
        if each.data.kind in {"activity", "note", "ticket"} and each.data.result == "done"
    )
    assert done

    async def totals() -> dict[tuple[str, bool], int]:
        crm = await EmbeddedCrm.open(installation.crm_url)
        try:
            return {
                (ws, is_ticket): (
                    await (
                        crm.tickets(workspace_id=ws) if is_ticket else crm.feed(FeedFilter(), workspace_id=ws)
                    )
                ).total
                for ws, is_ticket in done
            }
        finally:
            await crm.close()

    assert asyncio.run(totals()) == dict(done)


def test_the_exported_log_replayed_offline_gives_what_the_topics_hold(
    installation: Installation, records: dict[str, list[InputRecord]], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "services.local.cli"]
    log = tmp_path / "events.jsonl"
    subprocess.run(
        [*command, "export", "--bootstrap", installation.bootstrap, "--out", log], check=True, timeout=LIMIT_S
    )
    replayed = subprocess.run([*command, "replay", log], check=True, timeout=LIMIT_S, capture_output=True)
    offline: dict[tuple[str, bool], list[bytes]] = defaultdict(list)
    for line in replayed.stdout.splitlines():
        envelope = orjson.loads(line)
        offline[envelope["workspaceid"], envelope["type"].startswith("notice.")].append(line)
    live: dict[tuple[str, bool], list[bytes]] = defaultdict(list)
    for topic in (ROUTING, NOTICES):
        for record in records[topic]:
            assert record.key is not None
            assert record.value is not None
            live[record.key.decode(), topic == NOTICES].append(record.value)
    assert offline == live


def test_the_checker_finds_nothing_by_its_own_command(installation: Installation, outcome: Outcome) -> None:
    assert outcome.violations == 0
    subprocess.run(
        [sys.executable, "-m", "services.local.cli", "verify", "--bootstrap", installation.bootstrap],
        check=True,
        timeout=LIMIT_S,
        capture_output=True,
    )


def test_a_chats_story_from_the_topics_is_the_one_from_the_exported_log(
    installation: Installation, records: dict[str, list[InputRecord]], tmp_path: Path
) -> None:
    decided = [codec.decisions.decode(record.value) for record in records[ROUTING]]
    missed = next(each for each in decided if isinstance(each.data, ChatMissed) and each.data.why.others)
    workspace_id, chat_id = missed.workspaceid, missed.data.chat_id
    path = tmp_path / "events.jsonl"

    async def read() -> tuple[ChatLog, list[Moment]]:
        path.write_bytes(b"".join(await export(installation.bootstrap)))
        log = await chat_log.from_topics(installation.bootstrap, chat_id, workspace_id=workspace_id)
        return log, await why_not.in_topics(installation.bootstrap, log, min(log.ws.agents))

    log, moments = asyncio.run(read())
    assert any(isinstance(fact.data, TranscriptCompleted) for fact in log.effects)
    filed = chat_log.from_file(path, chat_id, workspace_id=workspace_id)
    assert why_not.in_file(path, filed, min(log.ws.agents)) == moments
    log.effects.clear()
    story = [line.text for line in tell(log, Words(log.ws, "en"))]
    assert [line.text for line in tell(filed, Words(filed.ws, "en"))] == story
    assert any(text.startswith("MISSED: ") for text in story)


def test_links_open_and_pages_answer(
    installation: Installation, records: dict[str, list[InputRecord]]
) -> None:
    transcript = codec.transcripts.decode(records[TRANSCRIPTS][0].value).data
    with urllib.request.urlopen(transcript.link, timeout=LIMIT_S) as page:
        assert page.status == 200
        assert transcript.question.split()[0] in page.read().decode()
    for worker in installation.http_ports:
        for path in ("metrics", "healthz", "readyz"):
            with urllib.request.urlopen(f"{installation.http_url(worker)}/{path}", timeout=LIMIT_S) as page:
                assert page.status == 200, f"{worker} {path}"


def test_no_log_line_holds_what_people_wrote_or_their_addresses(
    installation: Installation, records: dict[str, list[InputRecord]]
) -> None:
    private = {
        text
        for record in records[TRANSCRIPTS]
        for transcript in (codec.transcripts.decode(record.value).data,)
        for text in (transcript.visitor.email, transcript.visitor.name, transcript.question)
        if text
    }
    assert private
    logs = "".join(path.read_text("utf-8") for path in (installation.data / "logs").iterdir())
    assert logs
    assert [text for text in sorted(private) if text in logs] == []


def test_the_readme_s_frontend_has_its_chat(installation: Installation, outcome: Outcome) -> None:
    assert outcome.violations == 0  # the day is over: the example adds to the same topics
    done = subprocess.run(
        [sys.executable, EXAMPLE, installation.bootstrap],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kinds = [line.split(" ", 1)[0] for line in done.stdout.splitlines()]
    assert kinds.index("chat.offered.v1") < kinds.index("chat.assigned.v1") < kinds.index("chat.closed.v1")
    assert '"outcome": "handled"' in done.stdout
