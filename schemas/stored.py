"""Dataclasses as stored values of a changelog: JSON arrays of their fields in order, without names, nested ones likewise.

The one rule: what is stored is our own and was validated when it came in, so it is read back without being validated again. Fields
are only ever appended: a shorter array is an older one, whose missing fields get their defaults. Any other change raises `FORMAT`.
"""

import ast
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import starmap
from operator import attrgetter
from pkgutil import get_data
from types import NoneType, UnionType
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson

FORMAT = 1

T = TypeVar("T")
Convert = Callable[[Any], Any]


class Damaged(Exception):
    """A stored value that can't be read. The message is safe to log: it names the kind of value and holds nothing of it."""


class Stored(Generic[T]):
    """Writes and reads the values of one dataclass."""

    def __init__(self, kind: type[T], *, also: Mapping[Any, Callable[..., Any]] | None = None) -> None:
        """`also`: what makes values of certain types of their fields, in place of the types themselves."""
        self._kind = kind
        self._read = _reader(kind, dict(also or {}))

    def dumps(self, value: T) -> bytes:
        """The value as it is stored."""
        return dumps((FORMAT, value))

    def loads(self, raw: bytes) -> T:
        """The value that was stored. Raises `Damaged`."""
        try:
            form, values = orjson.loads(raw)
            value: T = self._read(values)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise Damaged(f"a stored {self._kind.__name__}: {type(error).__name__}") from None
        if form != FORMAT:
            raise Damaged(f"a stored {self._kind.__name__}: not of format {FORMAT}")
        return value


def dumps(value: Any) -> bytes:
    """JSON of plain values, with dataclasses as arrays."""
    return orjson.dumps(
        value, default=_values, option=orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_NON_STR_KEYS
    )


def _values(value: Any) -> tuple[Any, ...]:
    """All fields of a dataclass. Raises TypeError for anything else."""
    return _getter(value.__class__)(value)


@cache
def _getter(kind: Any) -> Callable[[Any], tuple[Any, ...]]:
    names = [field.name for field in fields(kind)]
    if len(names) == 1:
        return lambda value: (getattr(value, names[0]),)
    return attrgetter(*names)


def hints(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields. A compiled class knows no more of them than that one is a dict, so its source is asked."""
    if not hasattr(kind, "__mypyc_attrs__"):
        return get_type_hints(kind)
    package, _, name = kind.__module__.rpartition(".")
    source = ast.parse(get_data(package, f"{name}.py") or b"")
    (body,) = [
        node.body for node in source.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    ]
    return {
        ast.unparse(line.target): eval(  # noqa: S307 - a line of our own source
            ast.unparse(line.annotation), vars(sys.modules[kind.__module__])
        )
        for line in body
        if isinstance(line, ast.AnnAssign)
    }


def _reader(kind: Any, also: dict[Any, Callable[..., Any]]) -> Convert:
    """What makes a dataclass of an array; only fields that JSON does not give back as they were cost anything."""
    of_fields = hints(kind)
    converts = [_convert(of_fields[field.name], also) for field in fields(kind)]
    places = [(place, convert) for place, convert in enumerate(converts) if convert is not None]

    def read(values: list[Any]) -> Any:
        size = len(values)
        for place, convert in places:
            if place < size and (value := values[place]) is not None:
                values[place] = convert(value)
        return kind(*values)

    return read


def _convert(hint: Any, also: dict[Any, Callable[..., Any]]) -> Convert | None:
    """What makes a field's value of what JSON gives; None where that is the value."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in also:
        make = also[hint]
        return lambda values: make(*values)
    if is_dataclass(hint):
        return _reader(hint, also)
    if origin is Literal:
        return {arg: arg for arg in args}.__getitem__  # one text for all values, and an error for any other
    if origin in (Union, UnionType):
        converts = [_convert(arg, also) for arg in args if arg is not NoneType]
        assert len(converts) == 1 or not any(converts), "of several kinds, JSON can't tell which it was"
        return converts[0]
    if origin is tuple and args[0] in also:
        make_each = also[args[0]]
        return lambda values: tuple(starmap(make_each, values))
    if origin is tuple:
        return _tuple(_convert(args[0], also))
    if origin is dict:
        return _dict(_convert(args[1], also), by_number=args[0] is int)
    return None


def _tuple(convert: Convert | None) -> Convert:
    if convert is None:
        return tuple
    return lambda values: tuple([convert(value) for value in values])


def _dict(convert: Convert | None, *, by_number: bool) -> Convert | None:
    if convert is None:
        assert not by_number, "nothing stored is like that"
        return None
    if by_number:
        return lambda found: {int(name): convert(value) for name, value in found.items()}
    # A list that was always empty has become a dictionary once: `dict` reads both.
    return lambda found: {name: convert(value) for name, value in dict(found).items()}
