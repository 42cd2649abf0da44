"""Summaries: made of what was said aloud, one text's failure never stops the others, and another method can be plugged in."""

import asyncio
import sys
from types import ModuleType

import pytest
from sqlalchemy import delete, select, text

from schemas.types import Language
from services.local.phrases import ENGLISH, JAPANESE
from services.runtime.failures import WorkerFailed
from services.runtime.metrics import Metrics
from services.transcript import summary
from services.transcript.archive import tables
from services.transcript.archive.database import Archive, migrate
from services.transcript.archive.migrations.versions import v0005_summaries_and_erasures
from services.transcript.extract import SENTENCE_CHARS_MAX, SENTENCES, SENTENCES_MAX, extract, sentences
from services.transcript.summary import Conversation, Extractive, Summarizer, Unavailable, method_named
from services.transcript.worker import TranscriptSettings, run
from tests.transcript.sources import drain, everything
from tests.transcript.world import START_MS, World

JA = (
    "予約の日程を変更したいのですが、可能でしょうか。",
    "お問い合わせありがとうございます。担当の者です。",
    "番号は A-20931 です。",
    "12月3日のご宿泊を12月10日に変更でよろしいでしょうか。",
    "10日は空室がございますが、料金が一泊二千円高くなります。",
    "料金が上がるのは構いません。",
    "変更の手続きが完了いたしました。ほかにご不明な点はございますか。",
    "ありがとうございます。助かりました😊",
)
EN = (
    "Can I change the delivery address of my order?",
    "Hello, thanks for waiting. How can I help?",
    "The order has left our warehouse. The carrier can redirect the parcel to a pick-up shop.",
    "Ok. How do I ask the carrier to do that?",
    "Open the tracking link in your mail and choose redirect; it is free until tomorrow noon.",
    "Great, that was quick!",
)


async def kept(archive: Archive) -> dict[tuple[str, int], tuple[str | None, str | None]]:
    """Text and method of each summary that is no longer wanted."""
    s = tables.summaries.c
    async with archive.engine.connect() as connection:
        rows = await connection.execute(select(tables.summaries).where(s.at_ms.is_not(None)))
        return {(row.chat_id, row.revision): (row.text, row.method) for row in rows}


def summarizer(archive: Archive, method: summary.Method, metrics: Metrics | None = None) -> Summarizer:
    return Summarizer(archive, method, now_ms=lambda: START_MS, metrics=metrics or Metrics())


class Echo:
    """A foreign method: the last message, and what it is told to fail at."""

    name = "echo"

    def __init__(self, *, fails_at: str = "", error: Exception | None = None) -> None:
        self._fails_at = fails_at
        self._error = error
        self.seen: list[Conversation] = []

    async def summarize(self, conversation: Conversation) -> str | None:
        self.seen.append(conversation)
        if self._error is not None and conversation.chat_id == self._fails_at:
            raise self._error
        return conversation.messages[-1].text if conversation.messages else None


# ---------------------------------------------------------------- what is chosen


@pytest.mark.parametrize(
    ("texts", "found", "left_out"),
    [
        (JA, ("変更", "料金"), ("ありがとう", "不明な点")),
        (EN, ("delivery address", "carrier"), ("thanks for waiting", "Great")),
    ],
    ids=["ja", "en"],
)
def test_sentences_that_say_what_it_was_about(
    texts: tuple[str, ...], found: tuple[str, ...], left_out: tuple[str, ...]
) -> None:
    said = extract(texts[0], texts[1:])
    assert said is not None
    chosen = said.split("\n")
    assert len(chosen) == SENTENCES
    assert chosen == [each for each in sentences(texts) if each in chosen], "in the order they were said"
    assert all(word in said for word in found)
    assert not any(word in said for word in left_out)


@pytest.mark.parametrize("phrases", [JAPANESE, ENGLISH], ids=["ja", "en"])
def test_the_question_comes_first(phrases: type) -> None:
    for question in phrases.questions:  # type: ignore[attr-defined]
        said = extract(question, [*phrases.agent_lines, *phrases.visitor_lines])  # type: ignore[attr-defined]
        assert said is not None
        assert said.split("\n")[0] in question, "what it was about comes first"


@pytest.mark.parametrize("texts", [(), ("",), ("はい", "😊", "a", "?!"), ("Thank you!", "Hello")])
def test_where_nobody_said_anything_there_is_no_summary(texts: tuple[str, ...]) -> None:
    assert extract("", texts) is None


def test_long_chats_and_long_sentences_are_bounded() -> None:
    many = [f"注文番号{number}の商品について返金の相談です。" for number in range(3 * SENTENCES_MAX)]
    said = extract(many[0], many)
    assert said is not None
    assert len(said.split("\n")) == SENTENCES
    cut = extract("", ["長い 注文 " * 3_000])
    assert cut is not None
    assert len(cut) == SENTENCE_CHARS_MAX
    assert cut.endswith("…")


def test_a_dot_in_a_number_ends_no_sentence() -> None:
    assert sentences(["Version 3.5 is out. Ok? Yes!\nline two"]) == [
        "Version 3.5 is out.",
        "Ok?",
        "Yes!",
        "line two",
    ]


# ---------------------------------------------------------------- what is made when


def talk(world: World, chat: str, *texts: str, language: Language = "ja") -> None:
    world.request(chat, question=texts[0])
    for number, said in enumerate(texts[1:]):
        world.say(chat, said, kind="visitor" if number % 2 else "agent")
    world.end(chat, language=language)


async def test_each_revision_gets_one_without_whispers_and_without_machines(archive: Archive) -> None:
    world = World()
    world.request("c1", question=JA[0])
    world.say("c1", JA[4], kind="agent")
    world.say("c1", "ささやき 割引は秘密の一割までなら構いません", kind="agent", internal=True)
    world.say("c1", "自動応答の案内ページは営業時間の案内です", kind="bot")
    world.say("c1", "順番におつなぎする自動の案内文面です", kind="trigger")
    world.miss("c1")
    world.reopen("c1", at=world.say("c1", "返金の領収書は郵送ですか"), revision=2)
    world.end("c1", revision=2)
    await drain(archive, everything(world))
    assert await kept(archive) == {}
    metrics = Metrics()
    assert await summarizer(archive, Extractive(), metrics).step() == 2
    made = await kept(archive)
    assert set(made) == {("c1", 1), ("c1", 2)}
    assert {method for _, method in made.values()} == {"extractive"}
    assert "領収書" not in (made["c1", 1][0] or "")
    assert "領収書" in (made["c1", 2][0] or "")
    everywhere = "".join(text or "" for text, _ in made.values())
    assert "ささやき" not in everywhere
    assert "案内" not in everywhere
    assert metrics.value("summaries_total", result="made") == 2
    assert await summarizer(archive, Extractive()).step() == 0


async def test_no_method_ever_sees_a_whisper(archive: Archive) -> None:
    world = World()
    talk(world, "c1", "question", "aloud")
    world.request("c2")
    world.say("c2", "whisper", kind="agent", internal=True)
    world.say("c2", "aloud")
    world.end("c2")
    await drain(archive, everything(world))
    method = Echo()
    await summarizer(archive, method).step()
    assert [[said.text for said in seen.messages] for seen in method.seen] == [["aloud"], ["aloud"]]


async def test_a_text_that_fails_stops_no_other_and_is_not_tried_for_ever(archive: Archive) -> None:
    world = World()
    for chat in ("c1", "c2", "c3"):
        talk(world, chat, "question", f"said in {chat}")
    await drain(archive, everything(world))
    metrics = Metrics()
    method = Echo(fails_at="c2", error=ValueError("what a visitor wrote"))
    await summarizer(archive, method, metrics).step()
    assert await kept(archive) == {
        ("c1", 1): ("said in c1", "echo"),
        ("c2", 1): (None, "echo"),
        ("c3", 1): ("said in c3", "echo"),
    }
    assert metrics.value("summaries_total", result="failed") == 1


async def test_a_method_that_takes_too_long_is_given_up(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Echo):
        async def summarize(self, conversation: Conversation) -> str | None:
            if conversation.chat_id == "c1":
                await asyncio.Event().wait()
            return await super().summarize(conversation)

    monkeypatch.setattr(summary, "METHOD_LIMIT_S", 0.01)
    world = World()
    talk(world, "c1", "question", "one")
    talk(world, "c2", "question", "two")
    await drain(archive, everything(world))
    await summarizer(archive, Slow()).step()
    assert await kept(archive) == {("c1", 1): (None, "echo"), ("c2", 1): ("two", "echo")}


async def test_a_method_that_is_away_is_asked_again(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "BACKOFF_MIN_S", 0.01)
    monkeypatch.setattr(summary, "IDLE_S", 0.01)
    stop = asyncio.Event()

    class Away(Echo):
        async def summarize(self, conversation: Conversation) -> str | None:
            if len(self.seen) < 2:
                self.seen.append(conversation)
                raise Unavailable("the model is away")
            stop.set()
            return await super().summarize(conversation)

    world = World()
    talk(world, "c1", "question", "one")
    await drain(archive, everything(world))
    await asyncio.wait_for(summarizer(archive, Away()).run(stop), 10)
    assert await kept(archive) == {("c1", 1): ("one", "echo")}


async def test_it_goes_on_with_what_comes_and_stops_when_told(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "IDLE_S", 0.01)
    world, stop = World(), asyncio.Event()
    running = asyncio.create_task(summarizer(archive, Echo()).run(stop))
    for chat in ("c1", "c2"):
        talk(world, chat, "question", chat)
        await drain(archive, everything(world))
        async with asyncio.timeout(10):
            while (chat, 1) not in await kept(archive):
                assert not running.done()
    stop.set()
    await asyncio.wait_for(running, 10)


async def test_what_was_erased_while_it_was_read_gets_none(archive: Archive) -> None:
    class Erasing(Echo):
        async def summarize(self, conversation: Conversation) -> str | None:
            async with archive.engine.begin() as connection:
                await connection.execute(delete(tables.summaries))
            return await super().summarize(conversation)

    world = World()
    talk(world, "c1", "question", "one")
    await drain(archive, everything(world))
    await summarizer(archive, Erasing()).step()
    assert await kept(archive) == {}


async def test_reading_the_topics_again_makes_no_summary_again(archive: Archive) -> None:
    world = World()
    talk(world, "c1", "question", "one")
    await drain(archive, everything(world))
    await summarizer(archive, Echo()).step()
    async with archive.engine.begin() as connection:
        await connection.execute(tables.offsets.delete())
    await drain(archive, everything(world))
    assert await summarizer(archive, Echo()).step() == 0
    assert await kept(archive) == {("c1", 1): ("one", "echo")}


async def test_a_later_chat_of_the_same_id_gets_its_own(archive: Archive) -> None:
    world = World()
    talk(world, "c1", "question", "of the first")
    await drain(archive, everything(world))
    await summarizer(archive, Echo()).step()
    world.now_ms += 2 * 24 * 3600 * 1000
    talk(world, "c1", "question", "of the second")
    await drain(archive, everything(world))
    assert await kept(archive) == {}, "nobody sees the first one's with the second"
    await summarizer(archive, Echo()).step()
    assert await kept(archive) == {("c1", 1): ("of the second", "echo")}


async def test_a_chat_whose_id_was_taken_over_while_it_was_read_gets_no_others(archive: Archive) -> None:
    world = World()
    talk(world, "c1", "question", "of the first")
    await drain(archive, everything(world))
    world.now_ms += 2 * 24 * 3600 * 1000
    talk(world, "c1", "question", "of the second")

    class Overtaken(Echo):
        async def summarize(self, conversation: Conversation) -> str | None:
            await drain(archive, everything(world))
            return await super().summarize(conversation)

    await summarizer(archive, Overtaken()).step()
    assert await kept(archive) == {}
    await summarizer(archive, Echo()).step()
    assert await kept(archive) == {("c1", 1): ("of the second", "echo")}


async def test_what_was_made_before_the_method_went_away_is_kept(archive: Archive) -> None:
    world = World()
    for chat in ("c1", "c2"):
        talk(world, chat, "question", chat)
    await drain(archive, everything(world))
    with pytest.raises(Unavailable):
        await summarizer(archive, Echo(fails_at="c2", error=Unavailable("away"))).step()
    assert await kept(archive) == {("c1", 1): ("c1", "echo")}


async def test_long_chats_are_read_at_both_ends(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "MESSAGES_MAX", 2)
    world, method = World(), Echo()
    talk(world, "c1", "question", *"abcdef")
    talk(world, "c2", "question", *"abc")
    await drain(archive, everything(world))
    await summarizer(archive, method).step()
    read = {seen.chat_id: [said.text for said in seen.messages] for seen in method.seen}
    assert read == {"c1": ["a", "b", "e", "f"], "c2": ["a", "b", "c"]}


async def test_chats_from_before_this_version_get_theirs(database_url: str) -> None:
    opened = Archive.at(database_url)
    migrate(opened.engine.url, v0005_summaries_and_erasures.down_revision)
    async with opened.engine.begin() as connection:
        rows = "('w', 'whole', 1, 1), ('w', 'no transcript', 1, NULL)"
        await connection.execute(
            text(f"INSERT INTO chats (workspace_id, chat_id, revision, parts) VALUES {rows}")
        )
    await opened.prepare()
    await summarizer(opened, Echo()).step()
    assert await kept(opened) == {("whole", 1): (None, "echo")}
    await opened.close()


# ---------------------------------------------------------------- which method


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that somebody else has installed."""
    module = ModuleType("foreign_model")
    module.make = Echo  # type: ignore[attr-defined]
    module.wrong = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "foreign_model", module)


def test_methods_by_name(foreign: None) -> None:
    assert TranscriptSettings.model_fields["summary_method"].default == "extractive"
    assert isinstance(method_named("extractive"), Extractive)
    assert method_named("off") is None
    assert isinstance(method_named("foreign_model:make"), Echo)


@pytest.mark.parametrize(
    "name", ["gpt", "no_such_module:make", "foreign_model:absent", "foreign_model:wrong", "foreign_model:"]
)
async def test_a_method_that_is_none_fails_at_the_start(foreign: None, name: str) -> None:
    settings = TranscriptSettings(link_secret="0123456789abcdef", summary_method=name)
    with pytest.raises(WorkerFailed, match="CHAT_SUMMARY_METHOD"):
        await run(settings, asyncio.Event())
