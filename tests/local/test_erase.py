"""`chat-routing erase` against the whole service: Kafka, four workers, and an archive on each kind of database."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from typer.testing import CliRunner, Result

from schemas import codec
from schemas.envelope import to_ms
from schemas.events import (
    AgentConfigured,
    AgentPresence,
    By,
    ChatEndRequested,
    ChatFeedback,
    ChatMessage,
    ChatNoteAdded,
    ChatRequested,
    DepartmentConfigured,
    MonitorConfigured,
    Sender,
    Visitor,
    VisitorLeft,
    WorkspaceConfigured,
)
from schemas.notices import NoticeUnattended
from schemas.topics import EVENTS, NOTICES, ROUTER_STATE, ROUTING, TRANSCRIPT_STATE, TRANSCRIPTS, dead_letters
from schemas.types import Outcome
from services.local.cli import app
from services.local.errors import LocalError
from services.local.forgetting import demand, forget_waiting, named
from services.local.installation import NOTIFIER, Installation
from services.local.publishing import Publisher, wall_ms
from services.local.topic_log import TopicLog
from services.local.traces import Known, Marks
from services.notifier.digest import Digests
from services.runtime.ledger import Ledger
from services.runtime.parking import Parking
from services.runtime.ports import InputRecord
from services.transcript.archive.database import Archive
from services.transcript.archive.erasure import hash_of
from tests.databases import KINDS
from tests.local.programs import eventually
from tests.notifier.samples import envelope, unattended
from tests.transcript.sources import contents

WORKSPACE = "acme"
ANNA = Visitor("anna", name="安奈アンナ", email="anna@example.com")
BEN = Visitor("ben", name="Ben Bystander", email="ben@example.com")
HERS = ("安奈アンナ", "anna@example.com", "her words", "her question")
DAY_MS = 24 * 3600 * 1000


@dataclass
class Service:
    """A running installation and the archive it writes."""

    installation: Installation
    archive_url: str
    count: int = 0

    @property
    def bootstrap(self) -> str:
        return self.installation.bootstrap

    def publish(self, *events: Any) -> None:
        async def send() -> None:
            async with Publisher(self.bootstrap) as publisher:
                for data in events:
                    self.count += 1
                    value = codec.encode(
                        data,
                        event_id=f"e{self.count}",
                        source="/test",
                        at_ms=wall_ms(),
                        workspace_id=WORKSPACE,
                    )
                    await publisher.send(WORKSPACE.encode(), value)

        asyncio.run(send())

    def spoil(self, value: bytes) -> None:
        async def send() -> None:
            async with Publisher(self.bootstrap) as publisher:
                await publisher.send(WORKSPACE.encode(), value)

        asyncio.run(send())

    def records(self, topic: str) -> list[InputRecord]:
        async def read() -> list[InputRecord]:
            async with TopicLog(self.bootstrap, (topic,)) as log:
                return await log.catch_up()

        return asyncio.run(read())

    def state(self, topic: str) -> dict[bytes, str]:
        """What a changelog says now, as text."""
        latest: dict[bytes, str] = {}
        for record in self.records(topic):
            assert record.key is not None
            latest.pop(record.key, None)
            if record.value is not None:
                latest[record.key] = record.value.decode()
        return latest

    def archived(self) -> dict[str, list[tuple[Any, ...]]]:
        async def read() -> dict[str, list[tuple[Any, ...]]]:
            archive = Archive.at(self.archive_url)
            try:
                return await contents(archive)
            finally:
                await archive.close()

        return asyncio.run(read())

    def finished(self) -> dict[str, str]:
        """The chats whose transcript and summary stand in the archive, with their outcomes."""
        found = self.archived()
        made = {row[1] for row in found["summaries"] if row[-1] is not None}
        return {row[1]: row[3] for row in found["chats"] if row[1] in made and row[3]}

    def erase(self, *arguments: str, visitor: str = "anna") -> Result:
        named = ["--workspace", WORKSPACE, "--visitor", visitor]
        where = ["--bootstrap", self.bootstrap, "--archive", self.archive_url]
        return CliRunner().invoke(app, ["erase", *named, *where, *arguments])

    def demand_error(self, *arguments: str) -> str:
        result = self.erase(*arguments)
        assert isinstance(result.exception, LocalError), result.output
        return str(result.exception)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.archive)])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    with KINDS[request.param]() as new_database:
        url = new_database()
        overrides = {"CHAT_ARCHIVE_URL": url, "CHAT_TICK_INTERVAL_MS": "200"}
        with Installation(partitions=2, overrides=overrides) as installation:
            yield Service(installation, url)


def begin(chat: str, visitor: Visitor, question: str) -> ChatRequested:
    return ChatRequested(chat, "web", question, visitor, department_id="desk")


def said(chat: str, text: str, kind: Any = "visitor", *, internal: bool = False) -> ChatMessage:
    sender = Sender(kind, "boss" if kind == "agent" else None)
    return ChatMessage(chat, f"m-{chat}-{text}", sender, text, internal)


def a_day(service: Service) -> None:
    """Of both visitors: a handled chat, a missed one; of one of them a record nobody can read, too."""
    service.publish(
        WorkspaceConfigured("Acme"),
        AgentConfigured("boss", "Boss", role="admin", max_chats=9),
        AgentConfigured("temp", "Temp", role="agent"),
        DepartmentConfigured("desk", "Desk", agent_ids=("boss",), routing={"mode": "auto"}),  # type: ignore[arg-type]
        *(
            MonitorConfigured(f"on-{who.visitor_id}", "visitor_email", str(who.email), "boss")
            for who in (ANNA, BEN)
        ),
    )
    for visitor, who in ((ANNA, "her"), (BEN, "his")):
        handled, missed = f"{visitor.visitor_id}-handled", f"{visitor.visitor_id}-missed"
        service.publish(AgentPresence("boss", "offline"))
        service.publish(
            begin(missed, visitor, f"{who} question about the invoice"),
            said(missed, f"{who} words about the broken printer"),
            VisitorLeft(missed),
            AgentPresence("boss", "online"),
            begin(handled, visitor, f"{who} question about the delivery"),
            said(handled, f"{who} words about the delivery address"),
            said(handled, "the answer of an agent", "agent"),
            said(handled, "a whisper", "agent", internal=True),
            ChatNoteAdded(handled, f"n-{who}", "boss", f"{who} words in a note"),
        )
    service.spoil(b'{"type":"chat.message.v1","data":{"visitor":"anna","text":"her words in a bad record"}}')


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_a_visitor_is_erased_from_the_running_service(service: Service, tmp_path: Path) -> None:
    a_day(service)
    ledger = f"sqlite:///{service.installation.data}/{NOTIFIER}-ledger.db"
    everything = ("--by", "boss", "--ledger", ledger, "--json")
    eventually(lambda: "anna-missed" in service.finished(), what="the missed chat is archived")

    refused = service.demand_error(*everything)
    assert "have not ended" in refused
    assert "anna-handled" in refused
    ended = [ChatEndRequested(f"{name}-handled", By("agent", "boss")) for name in ("anna", "ben")]
    service.publish(*ended, ChatFeedback("anna-handled", 5, "her words of praise"))
    outcomes: dict[str, Outcome] = {
        "anna-handled": "handled",
        "anna-missed": "missed",
        "ben-handled": "handled",
        "ben-missed": "missed",
    }
    eventually(lambda: service.finished() == outcomes, what="all four chats are archived")
    eventually(lambda: bool(service.records(dead_letters(EVENTS))), what="the bad record is refused")
    before = service.archived()
    assert all(word in repr(before) for word in HERS)

    assert "--by" in service.demand_error("--ledger", ledger)
    assert "not_permitted" in service.demand_error("--by", "temp")
    assert "unknown_agent" in service.demand_error("--by", "nobody")
    assert "consumer group" in service.demand_error("--by", "boss", "--group", "another")
    assert "no ledger" in service.demand_error("--ledger", f"sqlite:///{tmp_path}/absent.db")
    assert all(word in repr(service.archived()) for word in HERS), "nothing was erased by all that"

    result = service.erase(*everything)
    assert result.exit_code == 0, (result.output, result.exception)
    report = json.loads(result.stdout)
    check_report(report, ledger)
    check_nothing_is_left(service, before)

    again = json.loads(service.erase(*everything).stdout)
    assert again["did_something"] is False
    assert again["erased_before_at"] == report["at"]
    assert again["erased"]["missed_inbox"] == 0
    told = service.erase(*everything[:-1]).stdout
    assert "nothing was left to do" in told
    assert "chat.transcripts.v1" in told
    stranger = json.loads(service.erase("--json", visitor="stranger").stdout)
    assert (stranger["chats"], stranger["did_something"], stranger["remains"]) == (0, False, [])

    check_the_service_goes_on(service)
    check_reading_again(service)


def check_report(report: dict[str, Any], ledger: str) -> None:
    assert report["workspace"] == WORKSPACE
    assert report["visitor_hash"] == hash_of(WORKSPACE, "anna")
    assert not any(word in json.dumps(report, ensure_ascii=False) for word in ("anna", "安奈"))
    assert (report["chats"], report["did_something"], report["erased_before_at"]) == (2, True, None)
    erased = report["erased"]
    for table in ("chats", "messages", "notes", "requests", "feedback", "summaries", "transcripts"):
        assert erased["archive"][table] > 0, table
    assert (erased["missed_inbox"] + erased["transcript_worker_state"]) >= 1
    assert erased["waiting_effects"] == {ledger: 0}
    remains = {each["topic"]: each for each in report["remains"]}
    assert {EVENTS, ROUTING, TRANSCRIPTS, dead_letters(EVENTS)} <= set(remains)
    kept_days = {EVENTS: 7, ROUTING: 30, TRANSCRIPTS: 30, dead_letters(EVENTS): 30}
    for topic, days in kept_days.items():
        newest, gone = (in_ms(remains[topic][name]) for name in ("newest_at", "gone_by"))
        segment_days = 7  # the broker's default
        assert gone - newest == (days + segment_days) * DAY_MS
    assert in_ms(report["router_forgets_by"]) - in_ms(report["at"]) == DAY_MS


def in_ms(moment: str) -> int:
    return to_ms(datetime.fromisoformat(moment))


def check_nothing_is_left(service: Service, before: dict[str, list[tuple[Any, ...]]]) -> None:
    after = service.archived()
    assert not [word for word in HERS if word in repr(after)]
    for table in ("messages", "notes", "requests", "summaries", "transcripts"):
        his = [row for row in before[table] if "ben" in repr(row)]
        assert his
        assert [row for row in after[table] if "ben" in repr(row)] == his, table
    stored = service.state(TRANSCRIPT_STATE)
    assert not [key for key in stored if b"anna" in key]
    assert not any(word in text for word in HERS for text in stored.values())
    assert [key for key in stored if b"ben-missed" in key], (
        "somebody else's missed chat may still be reopened"
    )
    router = service.state(ROUTER_STATE)
    mine = router[f"chat/{WORKSPACE}/{quote('anna-missed', safe='')}".encode()]
    assert re.search(r'"deleted"', mine)
    eventually(
        lambda: (
            str(ANNA.email)
            not in repr(
                {key: text for key, text in service.state(ROUTER_STATE).items() if b"chat/" not in key}
            )
        ),
        what="the router watches for her no more",
    )
    assert str(BEN.email) in repr(service.state(ROUTER_STATE))
    assert [row[1] for row in after["monitors"]] == ["on-ben"]


def check_the_service_goes_on(service: Service) -> None:
    """The fenced worker has read its state anew: new chats are archived, a missed one can be reopened; new ones of hers too."""
    service.publish(
        begin("ben-later", BEN, "his later question"),
        said("ben-later", "his later words"),
        said("ben-later", "an answer", "agent"),
        ChatEndRequested("ben-later", By("agent", "boss")),
        begin("anna-later", ANNA, "her question, back again"),
        said("anna-later", "an answer", "agent"),
        ChatEndRequested("anna-later", By("agent", "boss")),
    )
    eventually(
        lambda: {"ben-later", "anna-later"} <= set(service.finished()),
        what="chats after the erasure are archived",
        limit_s=60,
    )
    assert service.finished()["ben-later"] == "handled"


def check_reading_again(service: Service) -> None:
    """All topics are read from their beginning into an empty archive: nothing of the erased chats comes back."""
    before = service.archived()
    where = ["--bootstrap", service.bootstrap, "--archive", service.archive_url]
    result = CliRunner().invoke(app, ["archive", "rebuild", "--discard", *where])
    assert result.exit_code == 0, (result.output, result.exception)
    after = service.archived()
    for name in ("messages", "requests", "chats", "transcripts", "notes", "erasures", "erased_chats"):
        assert after[name] == before[name], name


# ---------------------------------------------------------------- parts of it


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b'{"visitor_id":"anna/\xc3\xa9"}', True),
        (b'["anna/\xc3\xa9"]', True),
        (rb'{"visitor_id":"anna\/\u00e9"}', True),
        (b'{"visitor_id":"anna/\xc3\xa9s"}', False),
        (b'{"text":"anna/\xc3\xa9 said"}', False),
        (rb'{"text":"anna\/\u00e9 said"}', False),
        (b'not json "anna/\xc3\xa9"', True),
        (rb"not json \x", False),
        (b"", False),
        (None, False),
    ],
)
def test_ids_are_found_however_a_publisher_writes_them(value: bytes | None, *, found: bool) -> None:
    assert Marks(["anna/é", "other.+"]).stand_in(value) is found


@pytest.mark.parametrize(
    ("known", "undecided"),
    [
        (Known(requests={"c": {"e1"}}), {"c"}),
        (Known(requests={"c": {"e1"}}, closed={("c", 1): 5}), set()),
        (Known(requests={"c": {"e1"}}, refused={"e1"}), set()),
        (Known(requests={"c": {"e1", "e2"}}, refused={"e2"}), {"c"}),
        (Known(requests={"c": {"e1", "e2"}}, refused={"e2"}, closed={("c", 1): 5}), set()),
        (Known(chat_ids={"c"}), set()),
    ],
)
def test_chats_nothing_is_decided_about_yet(known: Known, undecided: set[str]) -> None:
    assert known.undecided == undecided


def test_transcripts_that_are_still_to_be_made() -> None:
    known = Known(
        closed={("old", 1): 4, ("made", 1): 6, ("made", 2): 7, ("late", 1): 5}, transcribed={("made", 1)}
    )
    assert known.untranscribed(since_ms=5) == {"made", "late"}
    known.transcribed |= {("made", 2), ("late", 1)}
    assert known.untranscribed(since_ms=5) == set()


async def test_what_waits_in_a_ledger_is_deleted_for_one_visitor(database_url: str) -> None:
    """A mail that waits for its server, and one that waits for its digest; and those of others, here and elsewhere."""
    hers, his = (
        unattended(notice_id=f"n-{name}", chat_id=name, visitor=visitor, digest_s=60.0)
        for name, visitor in (("hers", ANNA), ("his", BEN))
    )
    async with Ledger(database_url, group="g") as ledger:
        parking, digests = Parking(ledger, records_max=9), Digests(ledger)
        for number, (data, workspace_id) in enumerate(((hers, "acme"), (his, "acme"), (hers, "other"))):
            value = codec.encode(data, event_id="e", source="/x", at_ms=wall_ms(), workspace_id=workspace_id)
            record = InputRecord(NOTICES, 0, number, 0, workspace_id.encode(), value)
            assert await parking.park(record, queue="smtp")
        assert not await digests.keeps(envelope(unattended(notice_id="first", digest_s=60.0)))
        for data in (hers, his):
            assert await digests.keeps(envelope(data))
        workspace_id = envelope(hers).workspaceid

        def forget(of_workspace: str) -> int:
            return forget_waiting(database_url, workspace_id=of_workspace, marks=Marks(["hers", "anna"]))

        counts = {name: forget(name) for name in sorted({"acme", workspace_id})}
        assert sum(counts.values()) == 2
        assert forget("acme") == forget(workspace_id) == 0
        left = await parking.oldest("smtp", besides=(), limit=9)
        assert [(record.key, record.offset) for record in left] == [(b"acme", 1), (b"other", 2)]
        parked = codec.notices.decode(left[0].value).data
        assert isinstance(parked, NoticeUnattended)
        assert parked.notice_id == "n-his"


def test_a_ledger_without_such_tables_holds_nothing(database_url: str) -> None:
    assert forget_waiting(database_url, workspace_id="acme", marks=Marks(["x"])) == 0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "address must be"),
        ("sqlite:////nowhere/ledger.db", "There is no ledger in /nowhere/ledger.db"),
    ],
)
def test_a_ledger_that_is_not_there_is_said_before_anything_is_done(url: str, said: str) -> None:
    with pytest.raises(LocalError, match=said):
        demand([url])


def test_a_password_is_never_shown() -> None:
    assert "hunter2" not in named("postgresql://me:hunter2@host/ledger")


def test_a_server_that_is_away_is_said_in_a_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "ledger.db"
    broken.write_bytes(b"this is no database at all, however long it is" * 99)
    with pytest.raises(LocalError, match="can't be used"):
        forget_waiting(f"sqlite:///{broken}", workspace_id="acme", marks=Marks(["x"]))
