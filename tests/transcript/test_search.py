"""Full-text search: what is found, what is not, by whom, and that the index finds it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, text

from services.runtime.database import open_single
from services.transcript.archive import tables
from services.transcript.archive.batch import Batch
from services.transcript.archive.database import Archive, Overtaken
from services.transcript.archive.search import (
    TERM_CHARS_MAX,
    TERMS_MAX,
    Unsearchable,
    found_by,
    held_by_chat,
    terms,
)
from services.transcript.core import DAY_MS
from tests.databases import NewDatabase
from tests.transcript.bulk import COMMON, RARE, WHISPERED, Size, fill
from tests.transcript.sources import contents, drain, everything
from tests.transcript.world import World


async def found(
    archive: Archive, written: str, *, workspace_id: str = "acme", whispers: bool = False
) -> list[str]:
    """The chats that hold every term: the same by the index and by a look at each chat."""
    c, dialect = tables.chats.c, archive.engine.dialect.name
    wanted = terms(written)
    by_index = [
        found_by(term, workspace_id=workspace_id, dialect=dialect, whispers=whispers) for term in wanted
    ]
    by_chat = [held_by_chat(term, whispers=whispers) for term in wanted]
    every = select(c.chat_id).where(c.workspace_id == workspace_id).order_by(c.chat_id, c.revision)
    async with archive.engine.connect() as connection:
        one, other = [
            list(await connection.scalars(every.where(*conditions))) for conditions in (by_index, by_chat)
        ]
    assert one == other
    return one


def conversations() -> World:
    world = World()
    for chat, question, said, whispered in (
        ("price", "料金について", "基本料金は１０００円です", ""),
        ("parcel", "Where is my PARCEL?", "100% sure_it is in ﾄｳｷｮｳ", ""),
        ("cat", "猫 と 犬", "料 金", ""),
        ("split", "何もない", "料", ""),
        ("secret", "こんにちは", "はい", "料金の滞納あり"),
    ):
        world.request(chat, question=question)
        world.say(chat, said, kind="agent")
        if chat == "split":
            world.say(chat, "金", kind="agent")
        if whispered:
            world.say(chat, whispered, kind="agent", internal=True)
        world.end(chat)
    world.request("theirs", workspace="other", question="料金について")
    world.end("theirs", workspace="other")
    return world


@pytest.mark.parametrize(
    ("written", "chats"),
    [
        ("料金", ["price"]),
        ("料金について", ["price"]),
        ("本料金は", ["price"]),
        ("料金が", []),
        ("金料", []),
        ("1000円", ["price"]),
        ("１０００", ["price"]),
        ("基本 について", ["price"]),
        ("基本　円", ["price"]),
        ("基本 parcel", []),
        ("parcel", ["parcel"]),
        ("PARC", ["parcel"]),
        ("rce", ["parcel"]),
        ("トウキョウ", ["parcel"]),
        ("ﾄｳｷｮｳ", ["parcel"]),
        ("100%", ["parcel"]),
        ("0%s", []),
        ("e_it", ["parcel"]),
        ("eXit", []),
        ("猫", ["cat"]),
        ("金", ["cat", "price", "split"]),
        ("滞納", []),
        ("'; DROP TABLE texts; --", []),
        ('"料金" OR NOT', []),
    ],
)
async def test_what_is_found(searchable: Archive, written: str, chats: list[str]) -> None:
    assert await found(searchable, written) == chats


async def test_whispers_are_found_by_those_who_may_read_them(searchable: Archive) -> None:
    assert await found(searchable, "滞納", whispers=True) == ["secret"]
    assert await found(searchable, "滞納") == []
    assert await found(searchable, "料金", whispers=True) == ["price", "secret"]


async def test_a_workspace_finds_its_own(searchable: Archive) -> None:
    assert await found(searchable, "料金", workspace_id="other") == ["theirs"]
    assert await found(searchable, "滞納", workspace_id="other", whispers=True) == []


@pytest.mark.parametrize(
    "written",
    [
        "",
        " 　",
        "a",
        "あ",
        "料金 b",
        "x" * (TERM_CHARS_MAX + 1),
        " ".join(f"t{n}" for n in range(TERMS_MAX + 1)),
    ],
)
def test_what_cannot_be_searched_for(written: str) -> None:
    with pytest.raises(Unsearchable, match="expected"):
        terms(written)


@pytest.fixture(scope="module")
def kept(new_database: NewDatabase) -> str:
    async def keep(url: str) -> None:
        archive = await Archive.open(url)
        await drain(archive, everything(conversations()))
        await archive.close()

    url = new_database()
    asyncio.run(keep(url))
    return url


@pytest.fixture
async def searchable(kept: str) -> AsyncIterator[Archive]:
    archive = Archive.at(kept)
    yield archive
    await archive.close()


async def test_texts_come_and_go_with_the_rows(archive: Archive) -> None:
    """In one transaction; and a chat's id may be used again, by a conversation of fewer parts."""
    world = World()
    world.request("c1", question="最初の質問")
    for number in range(100):
        world.say("c1", f"長い {number} " + "話" * 16_000)
    world.say("c1", "秘密", kind="agent", internal=True)
    world.end("c1")
    world.now_ms += DAY_MS + 1_000
    world.request("c1", question="次の質問")
    world.end("c1")
    records = everything(world)
    transcripts = [record for record in records if record.topic == "chat.transcripts.v1"]
    long = transcripts[:-1]
    assert len(long) > 2
    await drain(archive, long)
    assert await found(archive, "最初") == await found(archive, "長い") == ["c1"]
    assert await found(archive, "秘密", whispers=True) == ["c1"]
    late = Batch(moved={("chat.transcripts.v1", 0): (0, 9)})
    late.take(transcripts[-1])
    with pytest.raises(Overtaken):
        await archive.write(late)
    assert await found(archive, "次の") == []
    await drain(archive, transcripts)
    assert await found(archive, "次の") == ["c1"]
    assert await found(archive, "最初") == await found(archive, "長い") == []
    assert await found(archive, "秘密", whispers=True) == []
    found_rows = await contents(archive)
    assert (found_rows["messages"], len(found_rows["transcripts"]), len(found_rows["texts"])) == ([], 1, 1)


async def test_the_index_is_used(new_database: NewDatabase) -> None:
    """The database's own plan, at a size at which it has the choice."""
    archive = await Archive.open(new_database())
    engine = open_single(archive.engine.url.render_as_string(hide_password=False))
    await asyncio.to_thread(fill, engine, Size(chats=2_000, messages=4))
    engine.dispose()
    dialect = archive.engine.dialect.name
    (term,) = terms(RARE)
    condition = found_by(term, workspace_id="acme", dialect=dialect, whispers=False)
    query = select(tables.chats.c.chat_id).where(tables.chats.c.workspace_id == "acme", condition)
    written = str(query.compile(dialect=archive.engine.dialect, compile_kwargs={"literal_binds": True}))
    explain = "EXPLAIN QUERY PLAN " if dialect == "sqlite" else "EXPLAIN "
    async with archive.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        # As PostgreSQL does by itself after a while: statistics, and what was added last is put into the index proper.
        await connection.execute(text("ANALYZE" if dialect == "sqlite" else "VACUUM ANALYZE"))
        plan = repr((await connection.execute(text(explain + written.replace("%%", "%")))).all())
    assert ("VIRTUAL TABLE INDEX" if dialect == "sqlite" else "Bitmap Index Scan on ix_text_grams") in plan
    assert await found(archive, RARE) == ["acme-0000500", "acme-0001500"]
    assert len(await found(archive, COMMON)) > 500
    assert await found(archive, WHISPERED) == []
    assert len(await found(archive, WHISPERED, whispers=True)) == 2_000 // 50
    await archive.close()
