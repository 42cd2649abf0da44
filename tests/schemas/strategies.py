"""Hypothesis strategies for the data classes of the contract, read off their type hints.

The one rule: a kind of hint this file does not know is an error, so that a new kind of field can't go untested.
"""

import types
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from pydantic import StringConstraints
from pydantic.fields import FieldInfo

from schemas.types import WITHOUT_NUL, Clock, Day, Network, Zone

INT_MAX = 2**53
TEXT_CHARS_MAX = 40
ITEMS_MAX = 3

_SPECIAL: dict[Any, st.SearchStrategy[Any]] = {
    Clock: st.sampled_from(["00:00", "09:30", "23:59"]),
    Day: st.sampled_from(["2026-11-21", "2027-01-01"]),
    Zone: st.sampled_from(["UTC", "Asia/Tokyo", "America/St_Johns"]),
    Network: st.sampled_from(["192.0.2.1/32", "198.51.100.0/24", "2001:db8::/32"]),
}


def of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type hint, within its limits."""
    if hint in _SPECIAL:
        return _SPECIAL[hint]
    if is_dataclass(hint) and isinstance(hint, type):
        return _of_class(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _limited(args[0], args[1:])
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (Union, types.UnionType):
        return st.one_of(*(of(arg) for arg in args))
    if origin is tuple:
        return st.lists(of(args[0]), max_size=ITEMS_MAX).map(tuple)
    if origin is dict:
        return st.dictionaries(of(args[0]), of(args[1]), max_size=ITEMS_MAX)
    return _plain(hint)


def _plain(hint: Any) -> st.SearchStrategy[Any]:
    known: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=TEXT_CHARS_MAX),
        bool: st.booleans(),
        int: st.integers(-INT_MAX, INT_MAX),
        float: st.floats(allow_nan=False, allow_infinity=False),
        type(None): st.none(),
    }
    return known[hint]


def _limited(hint: Any, notes: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    limits: dict[str, Any] = {}
    for note in notes:
        if isinstance(note, StringConstraints):
            limits |= {"min_length": note.min_length, "max_length": note.max_length}
            assert note.pattern in (None, WITHOUT_NUL), "give it a strategy of its own"
        elif isinstance(note, FieldInfo):
            for limit in note.metadata:
                limits |= {name: getattr(limit, name) for name in limit.__slots__ if hasattr(limit, name)}
        else:
            raise TypeError(f"{note!r} has no strategy")
    least = limits.get("min_length") or 0
    if hint is str:
        return st.text(
            alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]),
            min_size=least,
            max_size=min(limits.get("max_length") or TEXT_CHARS_MAX, TEXT_CHARS_MAX),
        )
    if hint is int:
        return st.integers(limits.get("ge", -INT_MAX), limits.get("le", INT_MAX))
    if hint is float:
        return st.floats(limits.get("ge"), limits.get("le"), allow_nan=False, allow_infinity=False)
    assert get_origin(hint) is tuple, f"{hint!r} has no strategy"
    return st.lists(of(get_args(hint)[0]), min_size=least, max_size=max(least, ITEMS_MAX)).map(tuple)


@cache
def _of_class(kind: type) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{field.name: of(hints[field.name]) for field in fields(kind)})
