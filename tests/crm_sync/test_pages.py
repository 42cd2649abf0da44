from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from starlette.applications import Starlette

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.embedded.connector import EmbeddedCrm
from services.crm_sync.connectors.records import NewNote, NewTicket, Staff
from services.crm_sync.page_words import WORDS
from services.crm_sync.pages import CrmPages
from tests.crm_sync.connector_world import ACME, NOTE, TICKET, activity

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
TOKEN = "a long enough password ü"


def client(
    crm: EmbeddedCrm, *, http_host: str = "127.0.0.1", token: str | None = None, asked: str = "127.0.0.1:9104"
) -> httpx.AsyncClient:
    app = Starlette(routes=CrmPages(crm, http_host=http_host, token=token).routes())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=f"http://{asked}")


async def entry(crm: EmbeddedCrm, *, person: str = "Hanako", marker: str = "M", **changes: Any) -> CrmRecord:
    added = await crm.add_person(
        kind="lead", name=person, email=None, owner_id="z", marker=f"p{marker}", workspace_id=ACME
    )
    await crm.add_activity(replace(activity(), **changes), to=added.record, marker=marker, workspace_id=ACME)
    return added.record


async def test_shows_the_feed(crm: EmbeddedCrm) -> None:
    await entry(crm)
    async with client(crm) as http:
        page = await http.get("/crm/acme/feed")
    assert page.status_code == 200
    assert "Chat with 山田 花子" in page.text
    assert 'Lead: <a href="/crm/acme/people/1">Hanako</a> · owner: z' in page.text
    assert '<time datetime="2026-11-21T09:05:00.000Z">Nov 21, 2026, 9:05:00\u202fAM UTC</time>' in page.text
    assert 'href="https://chat.example.com/t/abc"' in page.text


async def test_nothing_a_visitor_writes_becomes_html(crm: EmbeddedCrm) -> None:
    hanako = await entry(
        crm,
        person=EVIL,
        title=EVIL,
        text=EVIL,
        link="javascript:alert(3)",
        ended_at=EVIL[:40],
        agents=(Staff(EVIL, EVIL, EVIL, EVIL),),
    )
    await crm.add_note(NewNote(EVIL, Staff("ken", EVIL)), to=hanako, marker="N", workspace_id=ACME)
    await crm.create_ticket(
        NewTicket(
            type="chat",
            title=EVIL,
            text=EVIL,
            question=EVIL,
            name=EVIL,
            link="javascript:alert(3)",
            created_at=EVIL[:40],
            email=EVIL,
            phone=EVIL,
            tag=EVIL,
            person=hanako,
        ),
        marker="T",
        workspace_id=ACME,
    )
    await crm.set_phone(EVIL, of=hanako, workspace_id=ACME)
    field = await crm.add_field("lead", "evil", EVIL, workspace_id=ACME)
    await crm.fill_field(field, EVIL, record_id=int(hanako.id))
    asked: tuple[tuple[str, dict[str, str]], ...] = (
        ("feed", {}),
        ("feed", {"type": "chat"}),
        ("feed", {"user": EVIL}),
        ("tickets", {}),
        (f"people/{hanako.id}", {}),
    )
    async with client(crm) as http:
        pages = [await http.get(f"/crm/acme/{path}", params=params) for path, params in asked]
    for shown in pages:
        assert shown.status_code == 200
        assert "<script" not in shown.text
        assert "<img" not in shown.text
        assert "javascript:" not in shown.text
        assert "&lt;script&gt;" in shown.text
        policy = shown.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        assert shown.headers["cache-control"] == "no-store"
        assert shown.headers["x-content-type-options"] == "nosniff"


async def test_tickets_and_the_view_of_missed_chats(crm: EmbeddedCrm) -> None:
    kinds: tuple[tuple[str, Literal["chat", "missed_chat"]], ...] = (
        ("missed one", "missed_chat"),
        ("finished one", "chat"),
    )
    for marker, type_ in kinds:
        await crm.create_ticket(replace(TICKET, title=marker, type=type_), marker=marker, workspace_id=ACME)
    async with client(crm) as http:
        everything = await http.get("/crm/acme/tickets")
        missed = await http.get("/crm/acme/tickets?view=missed", headers={"accept-language": "ja"})
        other = await http.get("/crm/other/tickets")
    assert "missed one" in everything.text
    assert "finished one" in everything.text
    assert "Visitor: 山田 花子 · Hanako@Example.com · +81312345678" in everything.text
    assert "Tag: shipping" in everything.text
    assert "missed one" in missed.text
    assert "finished one" not in missed.text
    assert 'href="/crm/acme/tickets?view=missed" aria-current="page">不在チャット' in missed.text
    assert "No tickets here." in other.text


async def test_a_persons_page_shows_card_feed_and_tickets(crm: EmbeddedCrm) -> None:
    lead = await crm.add_person(
        kind="lead", name="Hanako", email="h@example.com", marker="L", workspace_id=ACME, owner_id="ken"
    )
    contact = await crm.add_person(
        kind="contact",
        name="Hanako Y.",
        email="h@example.com",
        marker="C",
        workspace_id=ACME,
        company="Yamada",
    )
    field = await crm.add_field("person", "birthday", "Birthday", workspace_id=ACME)
    await crm.fill_field(field, "May 5", record_id=int(contact.record.id))
    await crm.add_activity(activity("of the lead"), to=lead.record, marker="A", workspace_id=ACME)
    await crm.add_activity(activity("of the contact"), to=contact.record, marker="B", workspace_id=ACME)
    await crm.add_note(NOTE, to=contact.record, marker="N", workspace_id=ACME)
    await crm.create_ticket(replace(TICKET, person=contact.record), marker="T", workspace_id=ACME)
    async with client(crm) as http:
        page = await http.get(f"/crm/acme/people/{contact.record.id}")
        japanese = await http.get(f"/crm/acme/people/{contact.record.id}", headers={"accept-language": "ja"})
    assert "<h1>Hanako Y.</h1>" in page.text
    for label, value in (("Owner", "ken"), ("Birthday", "May 5"), ("Status", "open"), ("Name", "Yamada")):
        assert f'<dt>{label}</dt><dd class="text">{value}</dd>' in page.text
    assert "of the contact" in page.text
    assert "of the lead" not in page.text
    assert "Note by 佐藤 健" in page.text
    assert TICKET.title in page.text
    assert '<dt>状態</dt><dd class="text">進行中</dd>' in japanese.text


@pytest.mark.parametrize("person", ["0", "4711", "x", "9" * 30, "²", "-1"])
async def test_nobodys_page(crm: EmbeddedCrm, person: str) -> None:
    async with client(crm) as http:
        page = await http.get(f"/crm/acme/people/{person}")
    assert page.status_code == 404


async def test_a_persons_page_is_its_workspaces_own(crm: EmbeddedCrm) -> None:
    hanako = await entry(crm, title="secret")
    async with client(crm) as http:
        page = await http.get(f"/crm/other/people/{hanako.id}")
    assert page.status_code == 404
    assert "secret" not in page.text


def test_both_languages_have_the_same_words() -> None:
    assert WORDS["en"].keys() == WORDS["ja"].keys()


async def test_filters_and_languages(crm: EmbeddedCrm) -> None:
    await entry(crm, marker="1", title="first", agents=(Staff("ken", "Ken", "east", "sales"),))
    await entry(crm, marker="2", title="second", type="missed_chat")
    async with client(crm) as http:
        east = await http.get("/crm/acme/feed", params={"team": "east", "user": ""})
        missed = await http.get("/crm/acme/feed", params={"type": "missed_chat"})
        other = await http.get("/crm/other/feed", headers={"accept-language": "ja,en;q=0.5"})
    assert "first" in east.text
    assert "second" not in east.text
    assert '<option value="east" selected>' in east.text
    assert "second" in missed.text
    assert "first" not in missed.text
    assert "まだ何もありません。" in other.text


@pytest.mark.parametrize(
    ("http_host", "asked", "status"),
    [
        ("127.0.0.1", "127.0.0.1:9104", 200),
        ("127.0.0.1", "localhost:9104", 200),
        ("::1", "[::1]:9104", 200),
        ("127.0.0.1", "evil.example.com", 403),
        ("0.0.0.0", "127.0.0.1:9104", 403),
        ("10.0.0.5", "10.0.0.5:9104", 403),
    ],
)
async def test_without_a_password_only_loopback(
    crm: EmbeddedCrm, http_host: str, asked: str, status: int
) -> None:
    await entry(crm, title="secret")
    async with client(crm, http_host=http_host, asked=asked) as http:
        pages = [await http.get(f"/crm/acme/{path}") for path in ("feed", "people/1", "tickets")]
    assert [page.status_code for page in pages] == [status] * 3
    assert ["secret" in page.text for page in pages] == [status == 200, status == 200, False]


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Basic " + b64encode(f"anybody:{TOKEN}".encode()).decode(), 200),
        ("basic " + b64encode(f":{TOKEN}".encode()).decode(), 200),
        ("Basic " + b64encode(b"anybody:wrong").decode(), 401),
        ("Basic " + b64encode(f"{TOKEN}:".encode()).decode(), 401),
        ("Basic ###", 401),
        ("Bearer x", 401),
        ("", 401),
    ],
)
async def test_with_a_password_everybody_needs_it(crm: EmbeddedCrm, authorization: str, status: int) -> None:
    await entry(crm, title="secret")
    async with client(crm, http_host="0.0.0.0", token=TOKEN) as http:
        page = await http.get("/crm/acme/feed", headers={"authorization": authorization})
    assert page.status_code == status
    assert ("secret" in page.text) is (status == 200)
    assert ("www-authenticate" in page.headers) is (status == 401)


async def test_database_away(tmp_path: Path) -> None:
    crm = await EmbeddedCrm.open(f"sqlite:///{tmp_path}/crm.db")
    async with client(crm) as http:
        await crm.close()
        (tmp_path / "crm.db").write_bytes(b"not a database at all" * 100)
        page = await http.get("/crm/acme/feed")
    assert page.status_code == 503


@pytest.mark.parametrize(
    ("language", "nobody", "password"),
    [
        ("ja-JP,en;q=0.5", "該当する人はいません", "パスワードが必要です"),
        ("fr", "nobody here", "password is needed"),
    ],
)
async def test_a_page_that_is_not_shown_says_why_in_the_readers_language(
    crm: EmbeddedCrm, language: str, nobody: str, password: str
) -> None:
    asked = {"accept-language": language}
    async with client(crm) as http:
        absent = await http.get("/crm/acme/people/404", headers=asked)
    async with client(crm, token=TOKEN) as http:
        closed = await http.get("/crm/acme/feed", headers=asked)
    assert (absent.status_code, closed.status_code) == (404, 401)
    assert nobody in absent.text
    assert password in closed.text
    assert "basic" in closed.headers["www-authenticate"].lower()
