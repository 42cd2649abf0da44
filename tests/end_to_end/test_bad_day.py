"""A day on which much goes wrong, logged at debug level: every mail still ends in one outcome for each recipient, and no log line
and no metric tells what people wrote or who they are."""

import asyncio
import email
import sqlite3
import urllib.request
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from schemas import codec
from schemas.outcomes import MailSettled
from schemas.topics import ACTIVITIES, DELIVERIES, EVENTS, NOTICES, ROUTING, TRANSCRIPTS
from services.local import accounts, sample_day
from services.local.accounts import Accounts
from services.local.arrivals import built_in_curve
from services.local.demo import PACE, TICK_INTERVAL_MS
from services.local.installation import CRM_SYNC, LINK_SECRET, NOTIFIER, ROUTER, TRANSCRIPT, Installation
from services.local.play import play
from services.local.ports import free_ports
from services.local.topic_log import TopicLog
from services.notifier.core import Rules, compose
from services.notifier.settings import NotifierSettings
from services.notifier.worker import READ, rules_of
from services.runtime.ports import InputRecord
from tests.end_to_end.leaks import WORD_CHARS_MIN, found, private_texts
from tests.notifier.sink import Sink

CHATS = 150
DAY_MS = 6_000
LIMIT_S = 200.0
POLL_INTERVAL_S = 0.5
SOURCE = "/tests/poison"
PERSON = "Zacharias Quellenhof"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACED = [("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01".encode()), ("baggage", PERSON.encode())]
PRIVATE = (PERSON, "zq@private.example", "198.51.100.77", "+49 30 555 0199", "my card is 4111 1111 1111")
KINDS = {
    EVENTS: ("chat.requested.v1", "chat.message.v1", "agent.configured.v1"),
    ROUTING: ("chat.closed.v1",),
    NOTICES: ("notice.unattended.v1", "notice.reply.v1"),
    TRANSCRIPTS: ("transcript.completed.v1",),
    ACTIVITIES: ("crm.settled.v1",),
    DELIVERIES: ("mail.settled.v1",),
}
FIELDS = (
    "visitor",
    "question",
    "text",
    "letter",
    "messages",
    "reason",
    "channel",
    "outcome",
    "owner",
    "revision",
    "name",
)
PLACE = ("topic", "partition", "offset")
ABOUT_A_RECORD = {"dead_letter", "handling_failed", "parked"}
ABOUT_WHAT_IT_SAYS = {"mail_failed", "downstream_unavailable", "circuit_open", "circuit_closed"}
"""Log lines of the second kind also name the record's workspace and chat; the first may be about one that can't be read."""
DATABASES = (f"{NOTIFIER}-ledger.db", f"{CRM_SYNC}-ledger.db", "archive.db")
SPARED = ("effect_owners", "effects_of", "alembic_version")
"""Without these a worker would not go on, or another part would be tested."""


@dataclass
class Unkind:
    """What a mail server says that quotes whom and what it refuses, as servers do."""

    asked: int = 0
    got: int = 0
    put_off: set[str] = field(default_factory=set)

    def rcpt(self, address: str) -> str | None:
        self.asked += 1
        if self.asked <= 8:
            return f"421 4.3.2 <{address}> not now"
        if self.asked % 5 == 0:
            return f"550 5.1.1 <{address}>: user unknown"
        if self.asked % 5 == 1 and address not in self.put_off:
            self.put_off.add(address)
            return f"451 4.7.1 <{address}>: greylisted"
        return None

    def data(self, message: bytes) -> str | None:
        self.got += 1
        if self.got % 6:
            return None
        quoted = message.decode("ascii", "replace").replace("\r\n", " ")[:400]
        return f"554 5.6.0 not wanted: {quoted}"


@dataclass
class Day:
    """What a day has left behind."""

    values: list[bytes]
    """The input log, our poison aside."""
    logs: dict[str, str]
    metrics: dict[str, str]
    books: Accounts
    due: set[tuple[str, str]]
    """Each mail and recipient that follow from what the notifier reads."""
    settled: dict[tuple[str, str], set[tuple[str, str | None]]]
    """What is told to have become of them."""
    whose: dict[tuple[str, int, int], tuple[str, str | None]]
    """Workspace and chat of each record that the notifier reads, by its place."""
    sent: Counter[tuple[str, str]]
    """Message-ID and address of what the mail server has taken, and how often."""


def poison() -> Iterator[tuple[str, bytes, bytes]]:
    """Give topic, key and value of records no worker can take, with private texts wherever a publisher could have put them."""
    for topic, kinds in KINDS.items():
        yield topic, b"northwind", f'{{"name": "{PERSON}", "text": "{PRIVATE[4]}'.encode()
        for kind, text in ((kind, text) for kind in kinds for text in PRIVATE):
            envelope = {
                "specversion": "1.0",
                "id": f"{topic}-{text}",
                "source": SOURCE,
                "type": kind,
                "time": "2026-11-21T12:00:00.000Z",
                "workspaceid": "northwind",
                "data": dict.fromkeys(FIELDS, text) | {text: text},
            }
            for wrong in (
                {},
                {"time": text},
                {"data": text},
                {"specversion": text},
                {"workspaceid": {text: text}},
            ):
                yield topic, b"northwind", orjson.dumps(envelope | wrong)
            yield topic, text.encode(), orjson.dumps(envelope)


async def publish_poison(bootstrap: str) -> int:
    """Return how many dead letters follow: the archive, which alone reads deliveries, passes over what it can't read."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        sent = [await producer.send(topic, value, key=key, headers=TRACED) for topic, key, value in poison()]
        await asyncio.gather(*sent)
    return sum(topic != DELIVERIES for topic, _key, _value in poison())


def jam(path: Path) -> None:
    """Let each insert and update of a database fail, with the statement's parameters at hand for whoever would log them."""
    with closing(sqlite3.connect(path, timeout=LIMIT_S)) as database, database:
        found = database.execute(
            "SELECT name FROM pragma_table_list WHERE type = 'table' AND schema = 'main'"
        )
        for (table,) in found.fetchall():
            if table in SPARED or table.startswith("sqlite_"):
                continue
            for what in ("INSERT", "UPDATE"):
                database.execute(
                    f'CREATE TRIGGER "jam_{what}_{table}" BEFORE {what} ON "{table}" '
                    "BEGIN SELECT RAISE(ABORT, 'jammed'); END"
                )


def unjam(path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=LIMIT_S)) as database, database:
        for (name,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'jam_%'"
        ).fetchall():
            database.execute(f'DROP TRIGGER "{name}"')


async def until_told(log: Path, what: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        while what not in log.read_text("utf-8"):  # noqa: ASYNC110, ASYNC240  another process's file
            await asyncio.sleep(0.05)


async def act(installation: Installation, sink: Sink) -> Accounts:
    """Play a day while everything goes wrong that may, and return what it came to."""
    logs = installation.data / "logs"
    books = Accounts()
    scenario = sample_day.make(chats=CHATS, seed=11, curve=built_in_curve(), day_ms=DAY_MS, pace=PACE)
    async with (
        sink.open(),
        TopicLog(installation.bootstrap, accounts.TOPICS) as log,
        asyncio.timeout(LIMIT_S),
    ):
        bad = await publish_poison(installation.bootstrap)
        playing = asyncio.create_task(play(scenario, bootstrap=installation.bootstrap))
        await until_told(logs / f"{NOTIFIER}.log", "circuit_open")
        for name in DATABASES:
            jam(installation.data / name)
        for name, what in (
            (NOTIFIER, "handling_failed"),
            (CRM_SYNC, "handling_failed"),
            (TRANSCRIPT, "archive_failed"),
        ):
            await until_told(logs / f"{name}.log", what)
        for name in DATABASES:
            unjam(installation.data / name)
        await playing
        while books.lost() or books.dead_letters < bad:
            installation.check()
            await asyncio.sleep(POLL_INTERVAL_S)
            books.take(await log.catch_up())
    return books


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """Return a day, when it is over."""
    unkind = Unkind()
    (port,) = free_ports(1)
    sink = Sink(rcpt=unkind.rcpt, data=unkind.data, port=port)
    overrides = {
        "CHAT_LOG_LEVEL": "DEBUG",
        "CHAT_TICK_INTERVAL_MS": str(TICK_INTERVAL_MS),
        "CHAT_SMTP_PORT": str(port),
        "CHAT_CIRCUIT_OPEN_MS": "500",
        "CHAT_DEAD_LETTERS_PER_MINUTE_MAX": "10000",
    }
    with Installation(tmp_path_factory.mktemp("bad-day"), partitions=4, overrides=overrides) as installation:
        books = asyncio.run(act(installation, sink))
        metrics = {}
        for name in installation.http_ports:
            with urllib.request.urlopen(f"{installation.http_url(name)}/metrics", timeout=LIMIT_S) as page:
                metrics[name] = page.read().decode()
        records = asyncio.run(read_back(installation.bootstrap))
        secret = SecretStr((installation.data / LINK_SECRET).read_text())
    due, settled = outcomes(records, rules_of(NotifierSettings(link_secret=secret)))
    return Day(
        [
            value
            for record in records
            if record.topic == EVENTS and SOURCE.encode() not in (value := record.value or b"")
        ],
        {path.stem: path.read_text("utf-8") for path in (installation.data / "logs").glob("*.log")},
        metrics,
        books,
        due,
        settled,
        whose(records),
        Counter((id_of(message), to) for recipients, message in sink.mails for to in recipients),
    )


async def read_back(bootstrap: str) -> list[InputRecord]:
    async with TopicLog(bootstrap, (EVENTS, DELIVERIES, *(topic for topic, _codec in READ))) as log:
        return await log.catch_up()


def outcomes(
    records: list[InputRecord], rules: Rules
) -> tuple[set[tuple[str, str]], dict[tuple[str, str], set[tuple[str, str | None]]]]:
    codecs = {**dict(READ), DELIVERIES: codec.deliveries}
    due: set[tuple[str, str]] = set()
    settled: dict[tuple[str, str], set[tuple[str, str | None]]] = defaultdict(set)
    for record in records:
        with suppress(codec.Poison, codec.UnknownType, KeyError):
            envelope = codecs[record.topic].decode(record.value)
            if isinstance(envelope.data, MailSettled):
                about = (envelope.data.notice_id, envelope.data.recipient)
                settled[about].add((envelope.data.result, envelope.data.code))
            elif mail := compose(envelope, rules):
                due.update((mail.effect_id, recipient.target) for recipient in mail.recipients)
    return due, settled


def whose(records: list[InputRecord]) -> dict[tuple[str, int, int], tuple[str, str | None]]:
    found = {}
    for record in records:
        with suppress(codec.Poison, codec.UnknownType, KeyError):
            envelope = dict(READ)[record.topic].decode(record.value)
            chat_id = getattr(envelope.data, "chat_id", None)
            found[record.topic, record.partition, record.offset] = (envelope.workspaceid, chat_id)
    return found


def id_of(message: bytes) -> str:
    return str(email.message_from_bytes(message)["Message-ID"])


@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_nothing_private_is_in_any_log_or_metric(day: Day) -> None:
    texts, words = private_texts(day.values)
    texts.update(PRIVATE)
    words.update(PERSON.split())
    assert len(texts) > CHATS
    assert min(map(len, words)) >= WORD_CHARS_MIN
    assert min(map(len, texts)) > WORD_CHARS_MIN
    assert set(day.logs) == set(day.metrics)
    for told in (day.logs, day.metrics):
        assert {name: found(texts, words, text) for name, text in told.items()} == {name: [] for name in told}


@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_much_went_wrong_on_that_day(day: Day) -> None:
    """Otherwise the search would have had nothing to look through."""
    events = {
        name: Counter(orjson.loads(line).get("event") for line in log.splitlines())
        for name, log in day.logs.items()
    }
    for name, wanted in {
        NOTIFIER: (
            "circuit_open",
            "mail_failed",
            "handling_failed",
            "dead_letter",
            "downstream_unavailable",
        ),
        CRM_SYNC: ("handling_failed", "dead_letter"),
        ROUTER: ("dead_letter",),
        TRANSCRIPT: ("dead_letter", "archive_failed"),
    }.items():
        assert set(wanted) <= set(events[name]), name
    assert any('"level": "debug"' in log for log in day.logs.values())
    assert {code for outcome in day.settled.values() for _result, code in outcome} == {
        None,
        "smtp_550",
        "smtp_554",
    }


@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_each_line_about_a_record_says_which(day: Day) -> None:
    entries = [orjson.loads(line) for log in day.logs.values() for line in log.splitlines()]
    seen: Counter[str] = Counter()
    for entry in entries:
        if (event := entry.get("event")) in ABOUT_A_RECORD | ABOUT_WHAT_IT_SAYS:
            place = tuple(entry[field] for field in PLACE)
            if event in ABOUT_WHAT_IT_SAYS:
                assert (entry["workspace_id"], entry.get("chat_id")) == day.whose[place], entry
            seen[event] += 1
    assert seen.keys() == ABOUT_A_RECORD | ABOUT_WHAT_IT_SAYS
    traces = {each.get("trace_id") for each in entries if each.get("event") == "dead_letter"}
    assert traces == {TRACE_ID, None}, "the day has a poison record of its own, which is in no trace"


@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_every_notice_ends_in_exactly_one_outcome_for_each_recipient(day: Day) -> None:
    assert day.settled.keys() == day.due
    assert {about: told for about, told in day.settled.items() if len(told) != 1} == {}
    assert set(day.sent.values()) == {1}
    assert len(day.sent) == sum(told == {("sent", None)} for told in day.settled.values())


@pytest.mark.parametrize(
    "shape",
    [
        lambda text: text,
        lambda text: orjson.dumps({"event": text}).decode(),
        lambda text: f"b{text.encode()!r}",
        lambda text: text.replace(" ", "%20").replace("?", "%3F"),
        lambda text: b64encode(f"Dear {text}, hello".encode()).decode(),
        lambda text: b64encode(f"Dear, {text}, hello".encode()).decode(),
        lambda text: b64encode(f"Dear A {text}, hello".encode()).decode(),
    ],
)
def test_the_search_finds_what_is_there(shape: "type[str]") -> None:
    for text in ("Do you ship to Canada?", "ann.bold@example.org", "2001:db8:1123::be36"):
        assert text in found({text}, set(), f'{{"event": "{shape(text)}"}}')
    for name in ("山田 花子", "葵"):
        assert found(set(), set(), f'{{"event": "{orjson.dumps(name).decode()}"}}')
        assert found(set(), set(), f"{name.encode()!r}")
    assert found(set(), {"Gray"}, "for Gray, twice") == ["Gray"]
    assert found(set(), {"Gray"}, "Grayscale") == []
