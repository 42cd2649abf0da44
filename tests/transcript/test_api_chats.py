"""The read API: what stands in the answers about one chat, a department, and canned messages."""

from urllib.parse import quote

import httpx
import pytest

from schemas.events import ChatNoteAdded, ChatRequested, Visitor
from services.transcript.archive.database import Archive
from tests.transcript.company import ODD, SEEN, bearer, client_of, items, of
from tests.transcript.sources import drain, everything
from tests.transcript.world import World

# ---------------------------------------------------------------- one chat


async def test_the_tabs_of_a_chat_that_ended(client: httpx.AsyncClient) -> None:
    told = (await client.get("/v1/acme/chats/sales-ann", headers=of("ann"))).json()
    assert told["as_of"] == "2026-11-23T09:00:20.000Z"
    assert (told["phase"], told["outcome"], told["question"]) == ("closed", "handled", "いくらですか")
    assert told["department"] == {"id": "sales", "name": "Sales"}
    assert told["agents"] == [{"id": "ann", "name": "Ann"}]
    assert told["summary"] is None
    assert [each["comment"] for each in told["feedback"]] == ["thanks"]
    assert told["information"] == {
        "visitor_id": "visitor",
        "name": "花子",
        "email": "hanako@example.com",
        "phone": None,
        "ip": None,
        "location": "Tokyo",
        "browser": "Firefox 130.0",
        "os": "Linux",
        "widget": "shop",
        "score": 0.5,
        "lead_likelihood": "high",
        "language": None,
    }
    summed_up = (await client.get("/v1/acme/chats/sales-sue", headers=of("ann"))).json()
    assert summed_up["summary"] == "How much it costs."
    recent = (await client.get("/v1/acme/chats/sales-ann/recent", headers=of("ann"))).json()
    assert {each["chat_id"] for each in recent["chats"]} == SEEN["ann"][0] - {"sales-ann"}
    assert [each["url"] for each in recent["tickets"]] == ["https://crm.example/t1"]
    unlinked = (await client.get("/v1/acme/chats/support-bob/recent", headers=of("bob"))).json()
    assert [each["url"] for each in unlinked["tickets"]] == [None], (
        "who has no part in the CRM gets no way in"
    )


async def test_a_chat_that_lives(client: httpx.AsyncClient) -> None:
    told = (await client.get("/v1/acme/chats/support-bob-now", headers=of("bob"))).json()
    assert (told["phase"], told["owner"]) == ("owned", {"id": "bob", "name": "Bob"})
    assert told["outcome"] is None
    assert told["information"]["email"] == "later@example.com"
    waiting = (await client.get("/v1/acme/chats/sales-waiting", headers=of("ann"))).json()
    assert (waiting["phase"], waiting["department"]["id"]) == ("waiting", "sales")


@pytest.mark.parametrize(
    ("whose", "chats"),
    [
        ("own", {"sales-ann", ODD}),
        ("others", {"sales-sue", "support-bob", "support-sid", "support-ada"}),
        ("all", {"sales-ann", "sales-sue", "support-bob", "support-sid", "support-ada", ODD}),
    ],
)
async def test_notes_belong_to_the_visitor(client: httpx.AsyncClient, whose: str, chats: set[str]) -> None:
    found = await items(client, f"chats/sales-ann/notes?whose={whose}", of("ann"))
    assert {each["chat_id"] for each in found} == chats
    assert all(each["own"] == (each["by"] == {"id": "ann", "name": "Ann"}) for each in found)


async def noted(archive: Archive, chat_id: str) -> list[str]:
    async with client_of(archive) as client:
        found = await items(client, f"chats/{chat_id}/notes", bearer("admin"))
    return [each["text"] for each in found]


async def test_notes_show_while_the_chat_they_were_written_in_lives(archive: Archive) -> None:
    world = World()
    for chat_id, visitor_id in (("ended", "v1"), ("open", "v1"), ("refused", "v1"), ("other", "v2")):
        asked = world.publish(ChatRequested(chat_id, "web", "?", Visitor(visitor_id)))
        world.publish(ChatNoteAdded(chat_id, "n", "a1", f"in {chat_id}"))
        if chat_id == "refused":
            world.refuse(asked)
    world.end("ended")
    await drain(archive, everything(world))
    for chat_id in ("ended", "open"):
        assert sorted(await noted(archive, chat_id)) == ["in ended", "in open"]
    assert await noted(archive, "other") == ["in other"]


async def test_who_is_not_known_is_not_taken_for_another(archive: Archive) -> None:
    """Chats whose request is older than the archive, missed, and with their bot since."""
    world = World()
    for chat_id in ("one", "two"):
        world.missed(chat_id, at=world.tick())
        world.publish(ChatNoteAdded(chat_id, "n", "a1", f"in {chat_id}"))
    await drain(archive, everything(world))
    assert await noted(archive, "one") == ["in one"]


async def test_a_missed_chat_whole(client: httpx.AsyncClient) -> None:
    told = (await client.get("/v1/acme/missed/support-missed", headers=of("ann"))).json()
    assert told["head"]["assigned_to"] == {"id": "ann", "name": "Ann"}
    assert (told["head"]["missed_tag"], told["head"]["reason"]) == ("unattended", "visitor_left")
    assert told["head"]["reply_by_email"] is True
    assert (told["rule"]["department_id"], told["rule"]["wait_timeout_s"]) == ("support", 600)
    assert told["available_counts"] == {"at_start": 0, "at_missed": 0}
    robot = (await client.get("/v1/acme/missed/sales-robot", headers=of("ann"))).json()["head"]
    assert (robot["missed_tag"], robot["question"]) == ("bot_transfer_failed", "いくらですか")
    replied = (await client.get("/v1/acme/missed/sales-missed", headers=of("ann"))).json()
    assert [(each["by"], each["text"], each["result"]) for each in replied["replies"]] == [
        ("Ann", "sorry", None)
    ]


async def test_who_is_available_and_who_waits(client: httpx.AsyncClient) -> None:
    (ann,) = await items(client, "departments/sales/agents", of("bob"))
    assert (ann["agent_id"], ann["load"], ann["capacity"]) == ("ann", 1, 2), "the chat that rings takes room"
    assert await items(client, "departments/support/agents", of("bob")) == [], (
        "a chat and a ring are all Bob can take"
    )
    (waiting,) = await items(client, "departments/support/queue", of("bob"))
    assert (waiting["position"], waiting["chat_id"], waiting["ringing"]) == (1, "support-waiting", ["bob"])
    assert waiting["requested_at"] == "2026-11-23T09:00:20.000Z"


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("#ab", ["c0", "c1"]),
        ("#ＡＢ", ["c0", "c1"]),
        ("#挨", ["c3"]),
        ("#deliv", ["c1"]),
        ("#%", []),
        ("#_", []),
        ("#absolutely", []),
        ("#", ["c0", "c1", "c3"]),
    ],
)
async def test_suggestions(client: httpx.AsyncClient, typed: str, found: list[str]) -> None:
    who, address = of("ann"), f"canned-messages/suggestions?text={quote(typed)}"
    assert [each["canned_message_id"] for each in await items(client, address, who)] == found


async def test_tags_in_use(client: httpx.AsyncClient) -> None:
    assert await items(client, "tags", of("ann")) == [{"tag": "repair"}]
