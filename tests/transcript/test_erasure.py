"""Erasing a visitor from the archive: nothing of them is left, nobody else loses anything, and they do not come back."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.events import (
    AgentConfigured,
    ChatFeedback,
    ChatNoteAdded,
    ChatRequested,
    MonitorConfigured,
    Visitor,
    VisitorPatch,
    VisitorUpdated,
)
from services.runtime.metrics import Metrics
from services.runtime.ports import InputRecord
from services.transcript.archive import tables
from services.transcript.archive.batch import Batch, Partition
from services.transcript.archive.database import Archive
from services.transcript.archive.erasure import (
    CrmRecord,
    Erased,
    Watch,
    chats_of,
    crm_records,
    erase,
    hash_of,
    holds_chats,
    watches_on,
    without_erased,
)
from services.transcript.archive.kafka_log import Held
from services.transcript.archive.projector import Projector
from services.transcript.archive.rebuilding import rebuild
from services.transcript.archive.rows import Row
from tests.transcript.sources import ListLog, contents, drain, everything
from tests.transcript.world import START_MS, World

IMPERSONAL = {"offsets", "freshness", "refusals", "erasures", "erased_chats", "erased_events"}
"""Tables that hold nothing of a visitor: ids of records and codes, and hashes."""
SETTINGS = {
    "agents",
    "canned_categories",
    "canned_messages",
    "departments",
    "members",
    "monitors",
    "presence",
    "snapshots",
    "workspaces",
}
"""Tables of what a workspace is set up with."""
FILLED = {
    "activities",
    "chats",
    "conversations",
    "deliveries",
    "feedback",
    "messages",
    "notes",
    "replies",
    "requests",
    "summaries",
    "texts",
    "transcripts",
}
"""Tables the sample has rows in."""
ANNA = Visitor("anna", name="安奈アンナ", email="anna@example.com")
BEN = Visitor("ben", name="Ben Bystander", email="ben@example.com")


def sample() -> World:
    """Two visitors with two chats each, in one workspace; one of them under the same id in another workspace."""
    world = World()
    for visitor, chats in ((ANNA, ("x1", "x2")), (BEN, ("b1", "b2"))):
        first, second = chats
        asked = f"question of {visitor.name}"
        world.publish(ChatRequested(first, "web", asked, visitor))
        world.say(first, f"text of {visitor.name}")
        world.say(first, f"whisper about {visitor.name}", kind="agent", internal=True)
        world.tag(first, "vip")
        world.end(first, visitor=visitor)
        world.publish(ChatFeedback(first, 5, f"comment of {visitor.name}"))
        world.publish(ChatNoteAdded(first, "n1", "agent1", f"note about {visitor.name}"))
        world.publish(ChatRequested(second, "web", asked, visitor))
        at = world.tick()
        world.missed(second, at=at)
        world.closed(second, at=at, outcome="missed", visitor=visitor)
        world.answer(second, f"reply to {visitor.name}", "sent")
    world.publish(ChatRequested("x1", "web", "elsewhere", ANNA), workspace="other")
    world.end("x1", workspace="other", visitor=ANNA)
    return world


async def erase_anna(archive: Archive, *, now_ms: int = START_MS) -> Erased:
    chats = await chats_of(archive.engine, workspace_id="acme", visitor_id="anna")
    return await erase(archive.engine, workspace_id="acme", visitor_id="anna", chat_ids=chats, now_ms=now_ms)


async def holds(archive: Archive, *words: str) -> list[str]:
    """Of these words those that stand anywhere in any table."""
    everywhere = repr({k: v for k, v in (await contents(archive)).items() if k != "offsets"})
    return [word for word in words if word in everywhere]


def test_each_table_is_erased_from_or_impersonal() -> None:
    """Whoever adds a table has to say which it is."""
    unsaid = {name for name in tables.metadata.tables if not holds_chats(name)} - IMPERSONAL - SETTINGS
    assert not unsaid, f"say in a test why {unsaid} hold nothing of a visitor, or give them a chat_id"


async def test_nothing_of_a_visitor_is_left_and_nobody_else_loses_anything(archive: Archive) -> None:
    await drain(archive, everything(sample()))
    async with archive.engine.begin() as connection:
        await connection.execute(update(tables.summaries).values(text="summary", method="m", at_ms=1))
    before = await contents(archive)
    assert await chats_of(archive.engine, workspace_id="acme", visitor_id="anna") == {"x1", "x2"}
    erased = await erase_anna(archive)
    after = await contents(archive)
    assert (erased.chats, erased.before_ms) == (2, None)
    for name, rows in before.items():
        if name in ("erasures", "erased_chats"):
            continue
        hers = [row for row in rows if row[0] == "acme" and {"x1", "x2"} & {str(cell) for cell in row}]
        assert sorted(after[name], key=repr) == sorted((row for row in rows if row not in hers), key=repr)
        assert erased.rows.get(name, 0) == len(hers)
    assert set(erased.rows) >= FILLED
    assert await holds(archive, "安奈アンナ", "anna@example.com") == ["安奈アンナ", "anna@example.com"]
    others = await erase(
        archive.engine, workspace_id="other", visitor_id="anna", chat_ids={"x1"}, now_ms=START_MS
    )
    assert others.chats == 1
    assert await holds(archive, "安奈アンナ", "anna@example.com", "Ben Bystander") == ["Ben Bystander"]


async def test_the_record_of_it_holds_nothing_personal(archive: Archive) -> None:
    await drain(archive, everything(sample()))
    await erase_anna(archive)
    found = await contents(archive)
    assert found["erasures"] == [("acme", hash_of("acme", "anna"), START_MS)]
    assert found["erased_chats"] == sorted(
        [(hash_of("acme", chat), START_MS) for chat in ("x1", "x2")], key=repr
    )


async def test_a_second_run_does_nothing(archive: Archive) -> None:
    await drain(archive, everything(sample()))
    await erase_anna(archive)
    before = await contents(archive)
    again = await erase(
        archive.engine, workspace_id="acme", visitor_id="anna", chat_ids={"x1", "x2"}, now_ms=START_MS + 5
    )
    assert again == Erased(chats=0, rows={}, before_ms=START_MS)
    assert await contents(archive) == before
    nobody = await erase(
        archive.engine, workspace_id="acme", visitor_id="nobody", chat_ids=set(), now_ms=START_MS
    )
    assert nobody == Erased(chats=0, rows={}, before_ms=None)
    assert await contents(archive) == before


async def test_reading_the_topics_again_does_not_bring_them_back(archive: Archive) -> None:
    records = everything(sample())
    await drain(archive, records)
    await erase_anna(archive)
    before = await contents(archive)
    for batch in (1_000, 1):
        async with archive.engine.begin() as connection:
            await connection.execute(tables.offsets.delete())
        await drain(archive, records, batch=batch)
        assert await contents(archive) == before


async def test_what_comes_late_about_an_erased_chat_is_dropped_and_new_chats_are_kept(
    archive: Archive,
) -> None:
    world = sample()
    await drain(archive, everything(world))
    await erase_anna(archive)
    world.publish(ChatNoteAdded("x1", "n9", "agent1", "a late note"))
    world.publish(ChatRequested("x3", "web", "I am back", ANNA))
    world.end("x3", visitor=ANNA)
    await drain(archive, everything(world))
    assert await holds(archive, "a late note", "I am back") == ["I am back"]
    again = await erase_anna(archive, now_ms=START_MS + 5)
    assert (again.chats, again.before_ms) == (1, START_MS)
    assert await holds(archive, "I am back") == []
    assert (await contents(archive))["erasures"] == [("acme", hash_of("acme", "anna"), START_MS + 5)]


async def test_a_projector_that_writes_at_the_same_time_brings_nothing_back(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has moved its offsets and looked for erasures when the erasure begins; whoever is first, the other waits."""
    records = everything(sample())
    await drain(archive, records)
    async with archive.engine.begin() as connection:
        await connection.execute(tables.offsets.delete())
    looked, go_on = asyncio.Event(), asyncio.Event()
    look = without_erased

    async def slowly(connection: AsyncConnection, rows: Any) -> Any:
        kept = await look(connection, rows)
        looked.set()
        await go_on.wait()
        return kept

    monkeypatch.setattr("services.transcript.archive.database.without_erased", slowly)
    projector = Projector(archive, ListLog(records), metrics=Metrics())
    await projector.place()
    writing = asyncio.create_task(projector.step())
    await asyncio.wait_for(looked.wait(), 10)
    erasing = asyncio.create_task(erase_anna(archive))
    done, _ = await asyncio.wait({erasing}, timeout=0.2)
    assert not done, "it waits for the projector"
    go_on.set()
    await asyncio.wait_for(asyncio.gather(writing, erasing), 20)
    async with archive.engine.connect() as connection:
        questions = (
            await connection.scalars(select(tables.requests.c.chat_id).filter_by(workspace_id="acme"))
        ).all()
    assert set(questions) == {"b1", "b2"}


def watched() -> World:
    """Monitors on hers and his, on what she was called later, one that was hers before it was his, and one in another workspace."""
    world = sample()
    world.publish(AgentConfigured("chief", "Chief", role="supervisor"))
    world.publish(VisitorUpdated("x2", VisitorPatch(email="Anna@Later.example")))
    for monitor_id, kind, value in (
        ("agent-then-hers", "agent", "agent1"),
        ("agent-then-hers", "visitor_email", "ANNA@example.com"),
        ("hers", "visitor_email", " anna@Example.com"),
        ("hers-later", "visitor_email", "anna@later.example"),
        ("his", "visitor_email", "ben@example.com"),
        ("hers-then-his", "visitor_email", "anna@example.com"),
        ("hers-then-his", "visitor_email", "ben@example.com"),
        ("of-an-ip", "ip", "192.0.2.1"),
    ):
        world.publish(MonitorConfigured(monitor_id, kind, value, "chief"))  # type: ignore[arg-type]
    world.publish(AgentConfigured("chief", "Chief", role="supervisor"), workspace="other")
    elsewhere = MonitorConfigured("hers", "visitor_email", "anna@example.com", "chief")
    world.publish(elsewhere, workspace="other")
    return world


async def monitors(archive: Archive) -> set[tuple[str, str]]:
    return {(row[0], row[1]) for row in (await contents(archive))["monitors"]}


LEFT = {("acme", "his"), ("acme", "hers-then-his"), ("acme", "of-an-ip"), ("other", "hers")}
"""The monitors that are nobody's business but their owners'."""


async def test_monitors_on_their_addresses_go_and_do_not_come_back(archive: Archive) -> None:
    records = everything(watched())
    await drain(archive, records)
    found = await watches_on(archive.engine, workspace_id="acme", chat_ids={"x1", "x2"})
    assert found == (
        Watch("agent-then-hers", "chief", "ANNA@example.com"),
        Watch("hers", "chief", " anna@Example.com"),
        Watch("hers-later", "chief", "anna@later.example"),
    )
    assert (await erase_anna(archive)).rows["snapshots"] == 4
    assert await monitors(archive) == LEFT
    told = repr([row for row in (await contents(archive))["snapshots"] if row[0] == "acme"]).casefold()
    assert "anna@" not in told
    assert "ben@example.com" in told
    assert (await erase_anna(archive)).rows == {}
    for discard in (False, True):
        held = {each: Held(0, end, START_MS) for each, end in ends_of(records).items()}
        await rebuild(archive, ListLog(records), held, discard=discard, show=lambda _done, _total: None)
        assert await monitors(archive) == LEFT
        told = repr((await contents(archive))["snapshots"]).casefold()
        assert told.count("anna@") == 1, "the other workspace's"
    again = MonitorConfigured("hers", "visitor_email", "anna@example.com", "chief")
    world = watched()
    world.publish(again)
    await drain(archive, everything(world))
    assert await monitors(archive) == LEFT | {("acme", "hers")}, "whoever watches for them anew may"


def ends_of(records: Sequence[InputRecord]) -> dict[Partition, int]:
    return {(record.topic, record.partition): record.offset + 1 for record in records}


async def test_what_the_crm_holds_is_named(archive: Archive) -> None:
    await drain(archive, everything(sample()))
    found = await crm_records(archive.engine, workspace_id="acme", chat_ids={"x1", "x2"})
    assert found == {CrmRecord("lead", "l1", None)}
    assert await crm_records(archive.engine, workspace_id="acme", chat_ids={"none"}) == set()


async def test_many_chats_are_erased_in_pieces(archive: Archive) -> None:
    chats = {f"c{number}" for number in range(1_200)}
    of = [{"workspace_id": "acme", "chat_id": chat} for chat in sorted(chats)]
    async with archive.engine.begin() as connection:
        await connection.execute(tables.conversations.insert(), of)
    erased = await erase(archive.engine, workspace_id="acme", visitor_id="v", chat_ids=chats, now_ms=START_MS)
    assert erased == Erased(chats=1_200, rows={"conversations": 1_200}, before_ms=None)
    await archive.offsets([("t", 0)])
    rows = [
        Row(tables.conversations, each | {"inbox_status": "open"})
        for each in [*of, {"workspace_id": "acme", "chat_id": "new"}]
    ]
    await archive.write(Batch(rows, moved={("t", 0): (0, 1)}))
    assert len((await contents(archive))["conversations"]) == 1


async def test_the_files_hold_nothing_any_more(tmp_path: Path) -> None:
    """SQLite leaves deleted rows in free pages and in its log, unless it is told not to."""
    archive = await Archive.open(f"sqlite:///{tmp_path}/archive.sqlite3")
    await drain(archive, everything(sample()))

    def bytes_of_files() -> bytes:
        return b"".join(file.read_bytes() for file in tmp_path.iterdir())

    secret = "text of 安奈アンナ".encode()
    assert secret in bytes_of_files()
    await erase_anna(archive)
    assert secret not in bytes_of_files()
    assert b"text of Ben Bystander" in bytes_of_files()
    await archive.close()
