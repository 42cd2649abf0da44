from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest

from schemas.decisions import AgentCard, MailPlan
from schemas.types import Language
from services.crm_sync.connectors.records import BODY_MIN, Limits
from services.crm_sync.connectors.rich_text import as_html
from services.crm_sync.conversation import WORDS, activity_of
from tests.crm_sync.material import KEN, LIMITS, MIA, said, transcript


def text(**changes: object) -> str:
    return activity_of(transcript(**changes), limits=LIMITS).text


def test_whole_text() -> None:
    activity = activity_of(transcript(agents=(KEN, MIA)), limits=LIMITS)
    assert activity.title == "Chat with 山田 花子"
    assert activity.type == "chat"
    assert activity.text == (
        "Whole conversation: https://chat.example.com/t/abc\n"
        "Start: 2026-11-21 18:00:00 (Asia/Tokyo)\n"
        "End: 2026-11-21 18:05:00 (Asia/Tokyo)\n"
        "Customer: 山田 花子\n"
        "Agents: 佐藤 健, Mia O'Neil\n"
        "Department: Sales\n"
        "Result: handled\n"
        "\n"
        "[18:00:00] 山田 花子: Do you ship to Kyoto?\n"
        "[18:00:01] 山田 花子: Hello\n"
        "[18:00:02] 佐藤 健: Yes, we do."
    )
    assert [(one.id, one.team, one.group) for one in activity.agents] == [
        ("ken", "東京", "sales"),
        ("mia", "Osaka", None),
    ]


def test_japanese_and_missed() -> None:
    activity = activity_of(
        transcript(outcome="missed", agents=(), messages=(), email=MailPlan("ja", "Asia/Tokyo")),
        limits=LIMITS,
    )
    assert (activity.type, activity.title) == ("missed_chat", "山田 花子様からの不在チャット")
    assert "担当者: なし" in activity.text
    assert "結果: 不在" in activity.text
    assert activity.text.endswith("[18:00:00] 山田 花子: Do you ship to Kyoto?")


def test_question_sent_as_first_message_stands_once() -> None:
    assert text(messages=(said("Do you ship to Kyoto?"),)).count("Kyoto") == 1


def test_internal_messages_stay_inside() -> None:
    written = text(
        messages=(said("whisper: offer 10 %", kind="agent", by="mia", internal=True), said("Hi", n=2))
    )
    assert "whisper" not in written
    assert "Hi" in written


def test_nobody_writes_in_anothers_name() -> None:
    written = text(
        visitor_name="Eve\nAgents: nobody\u202e\x1b[31m",
        messages=(said("ok\n[18:00:09] 佐藤 健: I promise a refund\r\nEnd: never\x00"),),
    )
    assert "Customer: Eve Agents: nobody[31m\n" in written
    assert "\n    [18:00:09] 佐藤 健: I promise a refund\n    End: never" in written
    assert not any(char in written for char in "\u202e\x1b\x00\r")


def test_speakers_without_a_name() -> None:
    written = text(
        visitor_name=None,
        messages=(
            said("a", kind="bot"),
            said("b", kind="trigger"),
            said("c", kind="agent", by="gone"),
            said("d", kind="system"),
        ),
    )
    for line in ("Customer: Visitor", "Bot: a", "Automatic message: b", "Agent: c", "System: d"):
        assert line in written


def test_many_agents_and_long_names_stay_short() -> None:
    agents = tuple(AgentCard(f"a{number}", "n" * 256) for number in range(40))
    head = text(agents=agents).partition("\n\n")[0]
    assert "and 30 more" in head
    assert len(head) < BODY_MIN


def test_unknown_zone_and_time() -> None:
    assert "Start: soon\n" in text(started_at="soon")
    assert "(UTC)" in text(email=MailPlan("en", "Mars/Olympus"))


MEASURES: dict[str, Callable[[str], int]] = {
    "characters": len,
    "bytes": lambda text: len(text.encode()),
    "html": lambda text: len(as_html(text)),
}


@pytest.mark.parametrize("unit", MEASURES)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_too_long_is_cut_with_a_sentence_that_says_so(
    unit: Literal["characters", "bytes", "html"], language: Language
) -> None:
    limits = replace(LIMITS, body_max=4_000, body_unit=unit)
    long = transcript(
        messages=tuple(said("漢字🙂<&\n" * 100, n=n) for n in range(20)),
        email=MailPlan(language, "Asia/Tokyo"),
    )
    written = activity_of(long, limits=limits).text
    size = MEASURES[unit](written)
    assert limits.body_max - 5 < size <= limits.body_max
    assert written.endswith(WORDS[long.email.language].cut)
    assert long.link in written


def test_exactly_at_the_limit_is_whole() -> None:
    whole = text(messages=(said("x" * 3_000),))
    exact = replace(LIMITS, body_max=len(whole))
    assert activity_of(transcript(messages=(said("x" * 3_000),)), limits=exact).text == whole
    shorter = replace(LIMITS, body_max=len(whole) - 1)
    assert activity_of(transcript(messages=(said("x" * 3_000),)), limits=shorter).text.endswith(
        WORDS["en"].cut
    )


def test_first_of_several_parts_says_that_it_is_not_all() -> None:
    assert text(parts=2).endswith(WORDS["en"].cut)


def test_too_small_a_limit_is_refused_when_it_is_declared() -> None:
    with pytest.raises(AssertionError, match="body of at least"):
        Limits(body_max=BODY_MIN - 1, body_unit="characters", name_chars_max=10, people_found_max=1)
