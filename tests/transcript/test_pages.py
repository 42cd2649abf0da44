"""The pages: what a link shows, what it never shows, and what everybody else gets."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import insert, select
from starlette.applications import Starlette

from schemas.events import Visitor
from schemas.types import (
    SECONDS_MAX,
    TEXT_CHARS_MAX,
    Channel,
    MissedDetail,
    MissedReason,
    MissedTag,
    Mode,
    Outcome,
    SenderKind,
    Strategy,
)
from services.runtime.links import TranscriptLink, links, transcript_link
from services.transcript.archive import tables
from services.transcript.archive.database import Archive
from services.transcript.archive.erasure import erase
from services.transcript.pages.reading import CHARS_SHOWN_MAX, read_chat
from services.transcript.pages.rendering import Written
from services.transcript.pages.routes import Pages
from services.transcript.pages.wording import WORDS
from tests.transcript.sources import drain, everything
from tests.transcript.world import START_MS, World

SECRET = "0123456789abcdef-test"
NOW_MS = START_MS + 3_600_000
HOSTILE = "<script>alert('x')</script>\"'&\u202e"


def link(
    chat: str,
    *,
    revision: int = 1,
    workspace: str = "acme",
    expires_ms: int = NOW_MS + 1,
    secret: str = SECRET,
) -> str:
    opens = TranscriptLink(workspace, chat, revision, START_MS, expires_ms)
    return transcript_link("http://pages", secret, opens)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    world = World()
    world.request("c1")
    world.say("c1", f"hi {HOSTILE}")
    world.say("c1", "THE WHISPER", kind="agent", internal=True)
    world.say("c1", "お待ちください", kind="trigger")
    world.now_ms += 6 * 3_600_000  # past midnight in Tokyo
    world.say("c1", "ようこそ", kind="agent")
    world.tag("c1", "<i>tag</i>")
    world.now_ms += 60_000
    world.end("c1", visitor=Visitor("v1", name=HOSTILE, email="hanako@example.com"))
    world.request("c2", workspace="other", question=HOSTILE)
    world.miss("c2", workspace="other")
    world.answer("c2", "the first mail", "sent", "sent", workspace="other")
    world.answer("c2", f"the second {HOSTILE}", "sent", "failed", workspace="other")
    world.answer("c2", "the third mail", workspace="other")
    world.answer("c2", "ELSEWHERE")
    world.reopen("c2", at=world.say("c2", "again", workspace="other"), revision=2, workspace="other")
    world.end("c2", revision=2, workspace="other", language="en")
    world.request("c3", question="open question")
    world.missed("c3", at=world.tick(), reason="transfer_declined", tag="bot_transfer_failed")
    world.request("c4")
    world.request("c6")
    world.end("c6")
    world.request("c5")
    for _ in range(CHARS_SHOWN_MAX // TEXT_CHARS_MAX + 1):
        world.say("c5", "x" * TEXT_CHARS_MAX)
    world.end("c5")
    archive = await Archive.open(f"sqlite:///{tmp_path}/archive.sqlite3")
    await drain(archive, everything(world))
    async with archive.engine.begin() as connection:
        summed_up = tables.summaries.update().where(tables.summaries.c.chat_id == "c1")
        await connection.execute(summed_up.values(text=f"IN SHORT {HOSTILE}"))
    await erase(archive.engine, workspace_id="acme", visitor_id="v1", chat_ids=["c6"], now_ms=NOW_MS)
    pages = Pages(archive.engine, secret=SECRET, now_ms=lambda: NOW_MS)
    transport = httpx.ASGITransport(app=Starlette(routes=pages.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://pages") as opened:
        yield opened
    await archive.close()


async def test_a_transcript_in_japanese(client: httpx.AsyncClient) -> None:
    response = await client.get(link("c1"))
    assert response.status_code == 200
    page = response.text
    assert '<html lang="ja">' in page
    assert "料金について" in page
    assert "hanako@example.com" in page
    assert "2026/11/21 18:00:00" in page, "the start, in the workspace's time zone"
    assert "ようこそ" in page
    assert "<b><bdi>自動メッセージ</bdi></b> · <time" in page, (
        "whoever has no name is called by what they are"
    )
    assert "<b><bdi>Ann</bdi></b> · 担当者 · <time" in page, (
        "the agent's name from the chat, where their message has none"
    )
    assert "対応済み" in page


async def test_each_day_of_a_conversation_has_its_heading(client: httpx.AsyncClient) -> None:
    page = (await client.get(link("c1"))).text
    told = (
        "<h3>2026年11月21日土曜日</h3>",
        "18:00:00",
        "お待ちください",
        "<h3>2026年11月22日日曜日</h3>",
        "0:00:00",
        "ようこそ",
    )
    places = [page.index(text, page.index("</header>")) for text in told]
    assert places == sorted(places)


async def test_the_summary_stands_above_the_conversation(client: httpx.AsyncClient) -> None:
    page = (await client.get(link("c1"))).text
    assert page.index("</header>") < page.index("IN SHORT &lt;script&gt;") < page.index("hi &lt;script&gt;")
    assert 'href="#summary"' in page
    assert "summary" not in (await client.get(link("c2", workspace="other"))).text, "this one has none"


async def test_of_a_very_long_conversation_the_page_says_how_much_it_shows(client: httpx.AsyncClient) -> None:
    page = (await client.get(link("c5"))).text
    shown = CHARS_SHOWN_MAX // TEXT_CHARS_MAX
    assert page.count("x" * TEXT_CHARS_MAX) == shown
    assert WORDS["ja"]["cut"].format(count=shown) in page


async def test_whispers_are_not_shown(client: httpx.AsyncClient) -> None:
    assert "WHISPER" not in (await client.get(link("c1"))).text


async def test_hostile_text_stays_text(client: httpx.AsyncClient) -> None:
    for address in (link("c1"), link("c2", workspace="other"), link("c3")):
        page = (await client.get(address)).text
        assert "<script" not in page
        assert "<i>" not in page
        assert "Ann <b>" not in page
    assert "&lt;script&gt;" in (await client.get(link("c1"))).text


async def test_nothing_is_loaded_run_or_kept(client: httpx.AsyncClient) -> None:
    for address in (link("c1"), "/t/forged", "/elsewhere"):
        headers = (await client.get(address)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"


async def test_a_missed_chat_says_why_and_who_was_there(client: httpx.AsyncClient) -> None:
    page = (await client.get(link("c2", workspace="other"))).text
    for wanted in (
        "未対応",
        "誰も返信しませんでした。",
        "営業",
        WORDS["ja"]["strategy_least_loaded"],
        "Ann &lt;b&gt;",
        "ほか2名",
        "2 分",
    ):
        assert wanted in page
    assert "again" not in page, "said after the first revision ended"


async def test_a_later_revision_in_english(client: httpx.AsyncClient) -> None:
    page = (await client.get(link("c2", revision=2, workspace="other"))).text
    assert '<html lang="en">' in page
    assert "Handled" in page
    assert "again" in page


async def test_answers_by_e_mail_stand_with_what_became_of_them(client: httpx.AsyncClient) -> None:
    page = (await client.get(link("c2", workspace="other"))).text
    told = ("the first mail", "mail_sent", "the second", "mail_failed", "the third mail", "mail_waits")
    places = [page.index(WORDS["ja"].get(text, text)) for text in told]
    assert places == sorted(places)
    assert "ELSEWHERE" not in page
    assert WORDS["en"]["mail_failed"] in (await client.get(link("c2", revision=2, workspace="other"))).text
    assert WORDS["ja"]["replies"] not in (await client.get(link("c1"))).text


async def test_a_missed_chat_that_a_bot_goes_on_with(client: httpx.AsyncClient) -> None:
    response = await client.get(link("c3"))
    assert response.status_code == 200
    assert "open question" in response.text
    assert WORDS["en"]["still_open"] in response.text
    assert WORDS["en"]["transfer_declined"].replace("'", "&#39;") in response.text
    japanese = await client.get(link("c3"), headers={"accept-language": "ja"})
    assert WORDS["ja"]["still_open"] in japanese.text, "the department's language is not known yet"


@pytest.mark.parametrize(
    ("address", "status", "told"),
    [
        (link("c4"), 404, "absent"),
        (link("c1", revision=2), 404, "absent"),
        (link("c1", workspace="other"), 404, "absent"),
        (link("c1", expires_ms=NOW_MS), 410, "expired"),
        (link("c6"), 410, "erased"),
        (link("c6", workspace="other"), 404, "absent"),
        (link("c1").replace("/t/", "/t/x"), 403, "invalid"),
        (link("c1")[:-1], 403, "invalid"),
        (link("c1", secret=SECRET + "x"), 403, "invalid"),
        ("/t/" + "x" * 10_000, 403, "invalid"),
        ("/", 404, "nothing"),
        ("/t/", 404, "nothing"),
        ("/archive.sqlite3", 404, "nothing"),
        ("/t/a/b", 404, "nothing"),
    ],
)
async def test_everything_else_is_refused(
    client: httpx.AsyncClient, address: str, status: int, told: str
) -> None:
    response = await client.get(address)
    assert response.status_code == status
    assert WORDS["en"][f"{told}_title"].replace("'", "&#39;") in response.text
    japanese = await client.get(address, headers={"accept-language": "ja,en;q=0.5"})
    assert WORDS["ja"][f"{told}_title"] in japanese.text


async def test_a_link_made_for_a_transcript_opens_it(client: httpx.AsyncClient) -> None:
    make = links(base_url="http://pages/", secret=SECRET, lifetime_s=3_600)
    assert (await client.get(make("acme", "c1", 1, START_MS + 60_000))).status_code == 200
    assert (await client.get(make("acme", "c1", 1, START_MS - 60_000))).status_code == 410


async def test_while_the_archive_is_away_the_page_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.write_text("a file", encoding="utf-8")
    archive = Archive.at(f"sqlite:///{folder}/archive.sqlite3")
    pages = Pages(archive.engine, secret=SECRET, now_ms=lambda: NOW_MS)
    transport = httpx.ASGITransport(app=Starlette(routes=pages.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://pages") as opened:
        response = await opened.get(link("c1"), headers={"accept-language": "ja"})
    assert response.status_code == 503
    assert WORDS["ja"]["down_title"] in response.text
    await archive.close()


async def test_nothing_can_be_posted(client: httpx.AsyncClient) -> None:
    assert (await client.post(link("c1"))).status_code == 405


def test_both_languages_say_everything() -> None:
    assert WORDS["en"].keys() == WORDS["ja"].keys()


@pytest.mark.parametrize(
    ("prefix", "values"),
    [
        ("", Outcome),
        ("", MissedReason),
        ("", MissedDetail),
        ("", MissedTag),
        ("mode_", Mode),
        ("strategy_", Strategy),
        ("channel_", Channel),
        ("kind_", SenderKind),
    ],
)
def test_there_are_words_for_every_value(prefix: str, values: Any) -> None:
    assert {f"{prefix}{value}" for value in get_args(values)} <= WORDS["en"].keys()


@pytest.mark.parametrize(
    ("seconds", "english", "japanese"),
    [
        (20.0, "20 sec", "20 秒"),
        (0.5, "0.5 sec", "0.5 秒"),
        (90, "1 min 30 sec", "1 分 30 秒"),
        (7_200, "2 hr", "2 時間"),
        (SECONDS_MAX, "720 hr", "720 時間"),
    ],
)
def test_how_long_things_take_is_written_for_people(seconds: float, english: str, japanese: str) -> None:
    zone = ZoneInfo("Asia/Tokyo")
    assert Written("en", zone).span(seconds) == english
    assert Written("ja", zone).span(seconds) == japanese


@pytest.mark.parametrize(("elsewhere", "question"), [(1, "open question"), (0, None)])
async def test_only_the_request_that_was_refused_is_left_out(
    tmp_path: Path, elsewhere: int, question: str | None
) -> None:
    world = World()
    world.request("c3", question="open question")
    world.missed("c3", at=world.tick(), reason="no_reply", tag="unattended")
    archive = await Archive.open(f"sqlite:///{tmp_path}/archive.sqlite3")
    await drain(archive, everything(world))
    async with archive.engine.begin() as connection:
        asked = (await connection.execute(select(tables.requests))).one()
        refusal = {
            "workspace_id": "acme",
            "decision_id": "d1",
            "request_id": asked.event_id,
            "request_type": "chat.requested.v1",
            "code": "unknown_agent",
            "request_offset": asked.offset + elsewhere,
        }
        await connection.execute(insert(tables.refusals), refusal)
    shown = await read_chat(archive.engine, workspace_id="acme", chat_id="c3", revision=1)
    await archive.close()
    assert shown is not None
    assert shown.chat["question"] == question
