"""A site of pages to look at: real ones, from logs through the archive, served as the worker serves them.

The one rule: every page a link can lead to is here in both languages; a new kind of page is added here first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anyio.from_thread import start_blocking_portal

from schemas.decisions import AgentCard, DepartmentRef
from schemas.events import ChatMessage, ChatRequested, Sender, Visitor
from schemas.types import QUESTION_CHARS_MAX, Language
from services.local.ports import LOOPBACK
from services.runtime import health
from services.runtime.links import TranscriptLink, transcript_link
from services.runtime.metrics import Metrics
from services.transcript.archive import tables
from services.transcript.archive.database import Archive
from services.transcript.archive.erasure import erase
from services.transcript.pages.export import export
from services.transcript.pages.reading import MESSAGES_SHOWN_MAX
from services.transcript.pages.revocation import Revocation, revoke
from services.transcript.pages.routes import Pages
from tests.transcript.sources import drain, everything
from tests.transcript.world import START_MS, World

SECRET = "0123456789abcdef-test"
NOW_MS = START_MS + 4 * 24 * 3_600_000
HOSTILE = (
    "</p></li><script>document.title='owned'</script><img src=x onerror=alert(1)>\"'&amp;\u202e{{ 7 * 7 }}"
)
LONG_WORD = "https://example.com/" + "a" * 4_000
ARABIC, HEBREW = "مرحبا، أين طلبي رقم 4711؟", "שלום, איפה ההזמנה שלי?"
EMOJI = "👩‍👩‍👧‍👦 👍🏽 🇯🇵 ﷽ Z̸̢̛a̷l̴g̶o̵"

CHATS = ("handled-ja", "handled-en", "missed-ja", "missed-en", "hostile")

TALKS: dict[Language, tuple[tuple[str, str], ...]] = {
    "ja": (
        ("bot", "お問い合わせありがとうございます。ご用件をお聞かせください。"),
        ("visitor", "11月30日発の沖縄ツアーの料金について教えてください。大人2名、子ども1名です。"),
        ("trigger", "ただいま担当者におつなぎしております。\nそのままお待ちください。"),
        (
            "agent",
            "お待たせいたしました。営業の佐藤です。\n大人2名様、お子様1名様で合計184,000円でございます。",
        ),
        ("visitor", "ありがとうございます！\n\n子どもの食事はアレルギー対応できますか。卵と乳です。"),
        ("agent", "はい、承ります。ご予約の際に備考欄へご記入ください。"),
    ),
    "en": (
        ("bot", "Thank you for asking. What can we do for you?"),
        ("visitor", "What does the tour to Okinawa on November 30 cost, for two adults and a child?"),
        ("trigger", "We are connecting you.\nOne moment, please."),
        ("agent", "Hello, this is Ann from sales.\nFor two adults and a child it is 184,000 yen in all."),
        ("visitor", "Thank you!\n\nCan the child's meals be made without eggs and milk?"),
        ("agent", "Certainly. Please say so in the remarks when you book."),
    ),
}
QUESTIONS: dict[Language, str] = {
    "ja": "沖縄ツアーの料金について",
    "en": "What does the tour to Okinawa cost?",
}
VISITORS: dict[Language, Visitor] = {
    "ja": Visitor("v1", name="山田 花子", email="hanako.yamada@example.com", phone="090-1234-5678"),
    "en": Visitor("v1", name="Hannah Yamada", email="hannah.yamada@example.com", phone="+81 90 1234 5678"),
}
DEPARTMENTS: dict[Language, DepartmentRef] = {
    "ja": DepartmentRef("s", "国内旅行"),
    "en": DepartmentRef("s", "Tours"),
}
AGENT = {
    "ja": AgentCard("a1", "佐藤 健", "sato@example.com"),
    "en": AgentCard("a1", "Ann Sato", "sato@example.com"),
}


class Day(World):
    """What happened before the pages were looked at."""

    def talk(self, chat: str, language: Language) -> None:
        for number, (kind, text) in enumerate(TALKS[language]):
            self.now_ms += 50_000 if number != 4 else 16 * 3_600_000  # the visitor answers on the next day
            self.say(chat, text, kind=kind)  # type: ignore[arg-type]
        self.say(chat, "THE WHISPER", kind="agent", internal=True)

    def ask(self, chat: str, question: str, visitor: Visitor) -> None:
        self.now_ms = START_MS
        self.publish(ChatRequested(chat, "line", question, visitor))

    def handled(self, language: Language) -> None:
        chat = f"handled-{language}"
        self.ask(chat, QUESTIONS[language], VISITORS[language])
        self.talk(chat, language)
        self.tag(chat, *(("料金", "沖縄") if language == "ja" else ("prices", "Okinawa")))
        self.end(
            chat,
            language=language,
            visitor=VISITORS[language],
            department=DEPARTMENTS[language],
            agents=(AGENT[language],),
        )

    def unattended(self, language: Language) -> None:
        chat = f"missed-{language}"
        self.ask(chat, QUESTIONS[language], VISITORS[language])
        self.now_ms += 120_000
        at = self.tick()
        self.missed(chat, at=at)
        self.closed(
            chat,
            at=at,
            outcome="missed",
            language=language,
            visitor=VISITORS[language],
            department=DEPARTMENTS[language],
        )
        self.now_ms += 3_600_000
        self.answer(chat, TALKS[language][3][1], "sent")
        self.answer(chat, TALKS[language][5][1], "sent", "failed")

    def hostile(self) -> None:
        visitor = Visitor(
            "v" * 128, name=(HOSTILE + "N" * 256)[:256], email="e" * 60 + "@" + "d" * 200 + ".example"
        )
        self.ask("hostile", (HOSTILE + LONG_WORD)[:QUESTION_CHARS_MAX], visitor)
        for text in (HOSTILE, LONG_WORD, ARABIC, HEBREW, EMOJI, "\t".join("abc") + "\n" * 3 + "end"):
            sender = Sender("visitor", "v1", HOSTILE)
            self.publish(ChatMessage("hostile", f"m{len(self.events)}", sender, text))
        self.say("hostile", "ok", kind="agent")
        self.tag("hostile", HOSTILE[:128], "T" * 128)
        at = self.tick()
        self.missed("hostile", at=at)
        self.answer("hostile", HOSTILE + LONG_WORD, "sent")
        self.closed(
            "hostile",
            at=at,
            outcome="missed",
            visitor=visitor,
            department=DepartmentRef("s", (HOSTILE + "D" * 256)[:256]),
            agents=(AgentCard("a1", (HOSTILE + "A" * 256)[:256]),),
        )

    def long(self) -> None:
        self.ask("long", QUESTIONS["ja"], VISITORS["ja"])
        for number in range(MESSAGES_SHOWN_MAX + 1):
            self.now_ms += 20_000
            self.say(
                "long", f"メッセージ{number}。{TALKS['ja'][1][1]}", kind="visitor" if number % 2 else "agent"
            )
        self.end("long")


@dataclass(frozen=True)
class Site:
    """Where the pages are. `told`: the address of each page of one sentence, by its key in the words."""

    base_url: str
    exported: Path
    """A file of all chats, as `chat-routing archive export` writes it."""

    def page(self, chat: str, *, expires_ms: int = NOW_MS + 1) -> str:
        return transcript_link(self.base_url, SECRET, TranscriptLink("acme", chat, 1, START_MS, expires_ms))

    @property
    def told(self) -> dict[str, str]:
        return {
            "expired": self.page("handled-ja", expires_ms=NOW_MS),
            "revoked": self.page("revoked"),
            "erased": self.page("erased"),
            "invalid": self.page("handled-ja")[:-1],
            "absent": self.page("nobody"),
            "nothing": f"{self.base_url}/elsewhere",
        }


async def sum_up(archive: Archive) -> None:
    """Fill in summaries, as the summarizer would: one sentence a line."""
    async with archive.engine.begin() as connection:
        for language, talk in TALKS.items():
            of_chat = tables.summaries.update().where(tables.summaries.c.chat_id == f"handled-{language}")
            await connection.execute(of_chat.values(text=f"{talk[1][1]}\n{talk[3][1]}"))


async def export_of(archive: Archive) -> bytes:
    chosen = tables.chats.c.chat_id.in_(CHATS)
    pieces = export(archive.engine, workspace_id="acme", chosen=chosen, form="html")
    return b"".join([piece async for piece in pieces])


@contextmanager
def serving(folder: Path) -> Iterator[Site]:
    """Serve the pages of a day from a thread of their own."""
    day = Day()
    languages: tuple[Language, ...] = ("ja", "en")
    for language in languages:
        day.handled(language)
        day.unattended(language)
    day.hostile()
    day.long()
    with start_blocking_portal() as portal:
        archive = portal.call(Archive.open, f"sqlite:///{folder}/archive.sqlite3")
        portal.call(drain, archive, everything(day))
        portal.call(sum_up, archive)
        revoked = Revocation(workspace_id="acme", chat_id="revoked")
        portal.call(partial(revoke, archive.engine, revoked, at_ms=NOW_MS))
        exported = folder / "export.html"
        exported.write_bytes(portal.call(export_of, archive))
        erased = partial(erase, archive.engine, workspace_id="acme", visitor_id="v1", chat_ids=["erased"])
        portal.call(partial(erased, now_ms=NOW_MS))
        metrics = Metrics()
        well = health.Health(metrics)
        well.ready_when(lambda: "")
        server = health.Pages(
            host=LOOPBACK,
            port=0,
            health=well,
            metrics=metrics,
            routes=Pages(archive.engine, secret=SECRET, now_ms=lambda: NOW_MS).routes(),
        )
        with portal.wrap_async_context_manager(server):
            yield Site(f"http://{LOOPBACK}:{server.port}", exported)
        portal.call(archive.close)
