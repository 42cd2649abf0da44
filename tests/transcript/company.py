"""A small company as the real router runs it, archived: departments, people of every role, chats of every kind; and a rival like it.

The one rule: who may see what is told by the chats' names: `sales-ann` is a chat of the department sales that Ann had.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import httpx
from sqlalchemy import update
from starlette.applications import Starlette

from schemas import codec, topics
from schemas import events as e
from schemas.notices import Notice
from schemas.outcomes import CrmRecord, CrmSettled, MailSettled
from schemas.types import CrmRight, SenderKind, Visibility
from schemas.types import Role as StaffRole
from services.router.records import encode_emitted
from services.runtime.ports import InputRecord
from services.transcript.api.access import Role, Token, make_token
from services.transcript.api.routes import Api
from services.transcript.archive import tables
from services.transcript.archive.database import Archive
from tests.router.scenes import MONDAY_9_MS, Scene
from tests.transcript.driving import Driver
from tests.transcript.sources import drain
from tests.transcript.test_after_router import record_of

SECRET = "0123456789abcdef-api"
NOW_MS = MONDAY_9_MS + 3_600_000
STAFF: dict[str, tuple[StaffRole, tuple[str, ...]]] = {
    "ann": ("agent", ("sales",)),
    "bob": ("agent", ("support", "lab")),
    "sue": ("supervisor", ("sales",)),
    "sid": ("supervisor", ("support",)),
    "ada": ("admin", ("support",)),
    'o"%': ("agent", ()),
}
DEPARTMENTS: dict[str, Visibility] = {
    "sales": "public",
    "support": "public",
    "lab": "private",
    "gone": "public",
}
RAW_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"


def company(workspace_id: str = "acme", *, mark: str = "") -> Scene:
    """The scene; `mark` stands in every text of its chats."""
    scene = Scene(workspace_id)
    scene.workspace(name=f"Acme{mark}", language="ja", timezone="Asia/Tokyo")
    for agent_id, (role, _) in STAFF.items():
        crm: CrmRight = "user" if agent_id == "ann" else "none"
        scene.say(e.AgentConfigured(agent_id, agent_id.title() + mark, role=role, max_chats=2, crm=crm))
    for department_id, visibility in DEPARTMENTS.items():
        members = tuple(agent_id for agent_id, (_, of) in STAFF.items() if department_id in of)
        routing = e.Routing(wait_timeout_s=600.0, first_reply_timeout_s=0.0)
        name = department_id.title() + mark
        scene.say(
            e.DepartmentConfigured(
                department_id, name, None, visibility, department_id != "gone", members, routing
            )
        )
    scene.say(e.CannedCategoryConfigured("greetings", f"挨拶{mark}"))
    for number, (text, only_in) in enumerate(
        [("ＡＢＣ です", None), ("about delivery", "sales"), ("absolutely", "support"), ("no such", None)]
    ):
        category = "greetings" if number == 3 else None
        scene.say(e.CannedMessageConfigured(f"c{number}", text + mark, category, only_in))
    ended(scene, mark)
    missed(scene, mark)
    living(scene, mark)
    return scene


def ended(scene: Scene, mark: str) -> None:
    """Chats that were served, each second another one."""
    served = ["sales-ann", "sales-sue", "support-bob", "support-sid", "support-ada"]
    for second, chat_id in enumerate([*served, f"sales-ann{mark}/ #?%2F\n"], start=1):
        scene.at(second)
        department_id, agent_id = chat_id.partition(mark + "/")[0].split("-")
        scene.presence(agent_id, "online")
        ask(scene, chat_id, department_id, mark)
        scene.accept(agent_id, chat_id)
        speak(scene, chat_id, "agent", agent_id, f"料金は千円です{mark}")
        speak(scene, chat_id, "agent", agent_id, f"WHISPER{mark}", internal=True)
        scene.say(e.ChatNoteAdded(chat_id, f"note-{chat_id}", agent_id, f"noted in {chat_id}{mark}"))
        if department_id == "support":
            scene.say(e.ChatTagsChanged((chat_id,), agent_id, add=(f"repair{mark}",)))
        scene.end(chat_id, "agent", agent_id)
        scene.say(e.ChatFeedback(chat_id, 5, f"thanks{mark}"))
        scene.presence(agent_id, "offline")


def missed(scene: Scene, mark: str) -> None:
    """Chats nobody replied to."""
    for second, department_id in enumerate(("sales", "support"), start=10):
        scene.at(second)
        ask(scene, f"{department_id}-missed", department_id, mark)
        scene.leave(f"{department_id}-missed")
    scene.at(12)
    ask(scene, "sales-robot", "sales", mark, bot="robot")
    speak(scene, "sales-robot", "bot", "robot", f"beep{mark}")
    scene.transfer("sales-robot", "sales", bot="robot")
    scene.say(e.MissedReplyRequested("sales-missed", "ann", f"sorry{mark}"))
    scene.say(e.MissedAssignRequested(("support-missed",), "ann", "sid"))


def living(scene: Scene, mark: str) -> None:
    """Chats as they live now, one of them watched."""
    scene.at(20)
    scene.presence("bob", "online")
    ask(scene, "support-bob-now", "support", mark)
    scene.accept("bob", "support-bob-now")
    scene.presence('o"%', "online")
    scene.invite("support-bob-now", "bob", 'o"%')
    scene.accept('o"%', "support-bob-now")
    scene.watch("sue", "agent", "bob")
    scene.join("support-bob-now", "sue")
    scene.say(e.VisitorUpdated("support-bob-now", e.VisitorPatch(email=f"later{mark}@example.com")))
    scene.presence("ann", "online")
    ask(scene, "sales-waiting", "sales", mark)
    ask(scene, "support-waiting", "support", mark)


def ask(scene: Scene, chat_id: str, department_id: str, mark: str, *, bot: str | None = None) -> None:
    visitor = e.Visitor(
        f"visitor{mark}",
        name=f"花子{mark}",
        email=f"hanako{mark}@example.com",
        browser=RAW_BROWSER,
        location=f"Tokyo{mark}",
        widget="shop",
        score=0.5,
        lead_likelihood="high",
    )
    scene.say(e.ChatRequested(chat_id, "web", f"いくらですか{mark}", visitor, department_id, bot))


def speak(
    scene: Scene, chat_id: str, kind: SenderKind, sender_id: str, text: str, *, internal: bool = False
) -> None:
    number = len(scene.entries)
    scene.say(e.ChatMessage(chat_id, f"m{number}", e.Sender(kind, sender_id), text, internal))


def records(scene: Scene, *, partition: int) -> list[InputRecord]:
    """All topics of a scene, as if its workspace had a partition of its own."""
    events = [record_of(entry) for entry in scene.entries]
    decided: list[InputRecord] = []
    notices: list[InputRecord] = []
    for item in scene.emitted:
        topic, of_topic = (
            (topics.NOTICES, notices) if isinstance(item.data, Notice) else (topics.ROUTING, decided)
        )
        value = encode_emitted(item).value
        of_topic.append(InputRecord(topic, 0, len(of_topic), item.at_ms, scene.workspace_id.encode(), value))
    driver = Driver()
    driver.feed([*events, *decided])
    transcripts = [
        InputRecord(topics.TRANSCRIPTS, 0, number, scene.now_ms, output.key, output.value)
        for number, output in enumerate(driver.outputs)
    ]
    found = [*events, *decided, *notices, *transcripts, *outcomes(scene)]
    return [replace(record, partition=partition) for record in found]


def outcomes(scene: Scene) -> list[InputRecord]:
    """What became of a mail and of a ticket."""
    ticket = CrmSettled(
        "ticket",
        "done",
        chat_id="sales-ann",
        revision=1,
        record=CrmRecord("ticket", "t1", "https://crm.example/t1"),
    )
    mail = MailSettled("n1", "transcript", "hash", "sent", chat_id="sales-ann")
    found = []
    for topic, data in ((topics.ACTIVITIES, ticket), (topics.DELIVERIES, mail)):
        value = codec.encode(
            data, event_id=f"o-{topic}", source="/x", at_ms=scene.now_ms, workspace_id=scene.workspace_id
        )
        found.append(InputRecord(topic, 0, 0, scene.now_ms, scene.workspace_id.encode(), value))
    return found


def bearer(
    role: Role, agent_id: str | None = None, *, workspace_id: str = "acme", for_ms: int = 60_000
) -> dict[str, str]:
    """The header of somebody's request."""
    token = Token(workspace=workspace_id, role=role, agent=agent_id, expires_at_ms=NOW_MS + for_ms)
    return {"authorization": f"Bearer {make_token(token, secret=SECRET)}"}


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Archive]:
    """The archive of two such companies."""
    archive = await Archive.open(url)
    try:
        await drain(archive, records(company(), partition=0))
        await drain(archive, records(company("rival", mark="-RIVAL"), partition=1))
        async with archive.engine.begin() as connection:
            of_sue = update(tables.summaries).where(tables.summaries.c.chat_id == "sales-sue")
            await connection.execute(of_sue.values(text="How much it costs."))
        yield archive
    finally:
        await archive.close()


def app_of(archive: Archive) -> Starlette:
    """The API of an archive."""
    return Starlette(routes=Api(archive.engine, secret=SECRET, now_ms=lambda: NOW_MS).routes())


def client_of(archive: Archive) -> httpx.AsyncClient:
    """Asks the API of an archive."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app_of(archive)), base_url="http://api")


# ---------------------------------------------------------------- who is there, and what they ask

ODD = "sales-ann/ #?%2F\n"
"""A chat's id may hold anything."""
ENDED = {
    "sales-ann",
    "sales-sue",
    "support-bob",
    "support-sid",
    "support-ada",
    "sales-missed",
    "support-missed",
    ODD,
}
LIVING = {"support-bob-now", "sales-waiting", "support-waiting", "sales-robot"}
SEEN: dict[str, tuple[set[str], set[str]]] = {
    # Her department's, and the missed one that was given to her.
    "ann": (
        {"sales-ann", "sales-sue", "sales-missed", "support-missed", ODD},
        {"sales-waiting", "sales-robot"},
    ),
    "bob": (
        {"support-bob", "support-sid", "support-ada", "support-missed"},
        {"support-bob-now", "support-waiting"},
    ),
    # Her department's, missed ones, and what an agent had; a chat without an owner is nobody's secret.
    "sue": ({"sales-ann", "sales-sue", "support-bob", "sales-missed", "support-missed", ODD}, LIVING),
    "sid": (ENDED - {"sales-sue"}, LIVING),
    "ada": (ENDED, LIVING),
    # Of no department, but asked into one chat.
    'o"%': (set(), {"support-bob-now"}),
}


async def items(client: httpx.AsyncClient, path: str, who: dict[str, str]) -> list[dict[str, Any]]:
    response = await client.get(f"/v1/acme/{path}", headers=who)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["items"]
    return found


async def ids(client: httpx.AsyncClient, path: str, who: dict[str, str]) -> set[str]:
    return {item["chat_id"] for item in await items(client, path, who)}


def of(agent_id: str) -> dict[str, str]:
    return bearer(STAFF[agent_id][0], agent_id)


def chat_path(chat_id: str) -> str:
    return f"chats/{quote(chat_id, safe='')}"
