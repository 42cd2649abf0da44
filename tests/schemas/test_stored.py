"""Stored values come back as they were, older ones with defaults, newer ones whole; damaged ones are told without their content."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest

from schemas import frozen
from schemas.events import Visitor
from schemas.stored import FORMAT, Damaged, Stored


@dataclass(slots=True)
class Part:
    name: str


@dataclass(slots=True)
class Before:
    id: str
    visitor: Visitor


@dataclass(slots=True)
class Whole:
    id: str
    visitor: Visitor
    phase: Literal["bot", "waiting"] = "waiting"
    part: Part | None = None
    parts: tuple[Part, ...] = ()
    numbered: dict[int, Part] = field(default_factory=dict)
    timers: dict[str, tuple[int, int]] = field(default_factory=dict)
    level: float = 0.0


STORED = Stored(Whole)
FULL = Whole(
    "c1",
    Visitor("v", score=5.0),
    "bot",
    Part("a"),
    (Part("b"), Part("c")),
    {7: Part("d")},
    {"wait": (1, 2)},
    20.0,
)


@pytest.mark.parametrize("value", [FULL, Whole("c2", Visitor("w"))])
def test_a_value_comes_back_as_it_was_and_is_written_in_the_same_bytes(value: Whole) -> None:
    raw = STORED.dumps(value)
    assert STORED.loads(raw) == (value, None)
    assert STORED.dumps(STORED.loads(raw)[0]) == raw


def test_what_was_stored_before_fields_were_appended_gets_their_defaults() -> None:
    raw = Stored(Before).dumps(Before("c1", Visitor("v")))
    assert STORED.loads(raw) == (Whole("c1", Visitor("v")), None)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[1",
        b"\xff",
        b"{}",
        b"7",
        b"[1]",
        b'[1,["secret"]]',
        b'[1,["secret",7]]',
        b'[1,["secret",["v"],"elsewhere"]]',
        b'[1,["secret",["v"],"bot",null,[],{"x":["d"]}]]',
        STORED.dumps(FULL).replace(b"[%d," % FORMAT, b"[%d," % (FORMAT + 1), 1),
    ],
)
def test_a_damaged_value_is_an_error_that_names_its_kind_and_holds_nothing_of_it(raw: bytes) -> None:
    with pytest.raises(Damaged, match=r"^a stored Whole: ") as caught:
        STORED.loads(raw)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_list_that_was_always_empty_is_read_as_the_dictionary_it_has_become() -> None:
    @dataclass(slots=True)
    class Chat:
        participant_ids: dict[str, Literal["participant", "monitor"]]

    assert Stored(Chat).loads(b"[%d,[[]]]" % FORMAT) == (Chat({}), None)


# ---------------------------------------------------------------- what a newer version has stored


@dataclass(slots=True)
class NewerPart:
    name: str
    colour: str = ""


@frozen.dataclass(frozen=True, slots=True)
class NewerVisitor(Visitor):
    mood: str | None = None


@dataclass(slots=True)
class NewerWhole:
    """What `Whole` may be in the next version: fields appended, to its parts as well."""

    id: str
    visitor: NewerVisitor
    phase: Literal["bot", "waiting"] = "waiting"
    part: NewerPart | None = None
    parts: tuple[NewerPart, ...] = ()
    numbered: dict[int, NewerPart] = field(default_factory=dict)
    timers: dict[str, tuple[int, int]] = field(default_factory=dict)
    level: float = 0.0
    note: str = ""
    further: tuple[NewerPart, ...] = ()


def newer_whole() -> NewerWhole:
    return NewerWhole(
        "c1",
        NewerVisitor("v", mood="glad"),
        part=NewerPart("a", "red"),
        parts=(NewerPart("b", "green"), NewerPart("c")),
        numbered={7: NewerPart("d", "blue")},
        timers={"wait": (1, 2)},
        note="kept",
        further=(NewerPart("e", "white"),),
    )


def changed(value: Whole) -> None:
    value.level = 3.0
    value.phase = "bot"
    value.visitor = replace(value.visitor, email="a@b.test")
    value.timers["ring"] = (3, 4)


def replaced(value: Whole) -> None:
    value.part = Part("another")
    value.parts = (Part("b"),)
    value.numbered = {8: Part("x")}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _value: None, {}),
        (
            changed,
            {
                "level": 3.0,
                "phase": "bot",
                "visitor": NewerVisitor("v", email="a@b.test", mood="glad"),
                "timers": {"wait": (1, 2), "ring": (3, 4)},
            },
        ),
        (
            replaced,  # parts that are gone or others take along what they had
            {
                "part": NewerPart("another"),
                "parts": (NewerPart("b", "green"),),
                "numbered": {8: NewerPart("x")},
            },
        ),
    ],
)
@pytest.mark.parametrize("also", [{}, {Part: Part}])
def test_what_a_newer_version_stored_goes_through_an_older_one(
    also: dict[type, type], change: Callable[[Whole], None], expected: dict[str, Any]
) -> None:
    older, next_version = Stored(Whole, also=also), Stored(NewerWhole)
    value, kept = older.loads(next_version.dumps(newer_whole()))
    assert value == Whole(
        "c1",
        Visitor("v"),
        part=Part("a"),
        parts=(Part("b"), Part("c")),
        numbered={7: Part("d")},
        timers={"wait": (1, 2)},
    )
    change(value)
    assert next_version.loads(older.dumps(value, kept)) == (replace(newer_whole(), **expected), None)


def test_what_is_kept_is_of_one_value_only() -> None:
    _, kept = STORED.loads(Stored(NewerWhole).dumps(newer_whole()))
    assert kept is not None
    assert STORED.loads(STORED.dumps(FULL)) == (FULL, None)
