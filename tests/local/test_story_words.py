"""The words of stories: every value of the contract has its phrase in both languages, and lines break where they may."""

import string
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from rich.cells import cell_len

from schemas import decisions as d
from schemas import events as e
from schemas import outcomes, types
from schemas.types import Language
from services.local.story.layout import broken, elapsed
from services.local.story.words import PHRASES, Words
from services.notifier import wording
from tests.local.told import log_of, missed, sentences
from tests.router.scenes import office

LANGUAGES: tuple[Language, ...] = ("ja", "en")


def test_both_languages_say_the_same_things_with_the_same_values() -> None:
    def blanks(text: str) -> list[str]:
        return sorted({name for _, name, _, _ in string.Formatter().parse(text) if name})

    assert PHRASES["ja"].keys() == PHRASES["en"].keys()
    for key, text in PHRASES["en"].items():
        assert blanks(PHRASES["ja"][key]) == blanks(text), key


def values(hint: Any) -> tuple[str, ...]:
    return get_args(hint)


INPUTS: tuple[Any, ...] = get_args(e.Event)
NEVER_REFUSED = (e.VisitorLeft, e.VisitorReturned, e.VisitorUpdated)
REQUESTS = tuple(
    member.TYPE.removesuffix(".v1")
    for member in INPUTS
    if {"chat_id", "chat_ids"} & {field.name for field in fields(member)} and member not in NEVER_REFUSED
)


@pytest.mark.parametrize(
    ("group", "listed"),
    [
        ("reason", values(types.MissedReason)),
        ("detail", values(types.MissedDetail)),
        ("tag", values(types.MissedTag)),
        ("mode", values(types.Mode)),
        ("strategy", values(types.Strategy)),
        ("offer", values(types.OfferKind)),
        ("withdrawn", values(types.WithdrawReason)),
        ("unassigned", values(types.UnassignReason)),
        ("assigned", values(get_type_hints(d.ChatAssigned)["by"])),
        ("bot_failed", values(types.BotTransferFailure)),
        ("outcome", values(types.Outcome)),
        ("inbox", values(types.MissedStatus)),
        ("code", values(types.RefusalCode)),
        ("sender", values(types.SenderKind)),
        ("ended_by", values(types.SenderKind)),
        ("kind", values(outcomes.MailKind)),
        ("mail", values(get_type_hints(outcomes.MailSettled)["result"])),
        ("crm", values(get_type_hints(outcomes.CrmSettled)["kind"])),
        ("crm", values(get_type_hints(outcomes.CrmSettled)["result"])),
        ("field", tuple(field.name for field in fields(e.VisitorPatch))),
        ("request", REQUESTS),
    ],
)
def test_every_value_of_the_contract_has_its_phrase(group: str, listed: tuple[str, ...]) -> None:
    assert listed
    for language in LANGUAGES:
        phrases = {**wording.PHRASES[language], **PHRASES[language]}
        assert [value for value in listed if f"{group}.{value}" not in phrases] == []


def test_what_a_newer_router_says_is_shown_as_it_stands(tmp_path: Path) -> None:
    scene = office("ann")
    scene.ask("c1")
    words = Words(log_of(scene, "c1", tmp_path).ws, "en")
    assert words.term("reason", "eclipse\x1b") == r"eclipse\x1b"
    assert words.counted("others", "asleep", count=3) == "asleep 3"


# ---------------------------------------------------------------- the lines


def test_the_elapsed_time_reads_like_a_stop_watch() -> None:
    assert [elapsed(ms) for ms in (-5, 999, 61_000, 3_600_000, 90_061_000)] == [
        "+0:00",
        "+0:00",
        "+1:01",
        "+1:00:00",
        "+25:01:01",
    ]


@pytest.mark.parametrize("width", [20, 33, 59, 80])
@pytest.mark.parametrize("language", LANGUAGES)
def test_lines_fit_and_break_where_they_may(width: int, language: Language, tmp_path: Path) -> None:
    for text in sentences(missed(tmp_path), language):
        lines = list(broken(text, width=width))
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert all(cell_len(line) <= width for line in lines)
        assert not [line for line in lines[1:] if line[0] in "、。）」"]
        assert not [line for line in lines[:-1] if line[-1] in "（「"]


def test_a_word_longer_than_the_line_is_cut() -> None:
    assert list(broken("x" * 45, width=20)) == ["x" * 20, "x" * 20, "x" * 5]
