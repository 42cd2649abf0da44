"""Stored values come back as they were, older ones with defaults, and damaged ones are told without their content."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

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
    assert STORED.loads(raw) == value
    assert STORED.dumps(STORED.loads(raw)) == raw


def test_what_was_stored_before_fields_were_appended_gets_their_defaults() -> None:
    raw = Stored(Before).dumps(Before("c1", Visitor("v")))
    assert STORED.loads(raw) == Whole("c1", Visitor("v"))


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
        STORED.dumps(FULL).replace(b"20.0", b"20.0,1"),
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

    assert Stored(Chat).loads(b"[%d,[[]]]" % FORMAT) == Chat({})
