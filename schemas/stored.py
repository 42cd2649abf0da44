"""Dataclasses as stored values of a changelog: JSON arrays of their fields in order, without names, nested ones likewise.

The one rule: what is stored is our own and was validated when it came in, so it is read back without being validated again. Fields
are only ever appended: a shorter array is an older one, whose missing fields get their defaults; a longer one is a newer one, whose
further fields are kept and written back. Any other change raises `FORMAT`, in two steps (docs/upgrades.md).
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

from schemas.newer import Newer, newer, written_back

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
        self._longer: list[type] = []
        """The kinds of arrays that were longer than known, while one value is read."""
        self._read = _reader(kind, dict(also or {}), self._longer)

    def dumps(self, value: T, kept: Newer | None = None) -> bytes:
        """The value as it is stored, with what was `kept` of the one that was read."""
        if kept is None:
            return dumps((FORMAT, value))
        return dumps((FORMAT, written_back(orjson.loads(dumps(value)), kept)))

    def loads(self, raw: bytes) -> tuple[T, Newer | None]:
        """The value that was stored, and what a newer version has stored beyond it. Raises `Damaged`."""
        self._longer.clear()
        try:
            form, values = orjson.loads(raw)
            value: T = self._read(values)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise Damaged(f"a stored {self._kind.__name__}: {type(error).__name__}") from None
        if form != FORMAT:
            raise Damaged(f"a stored {self._kind.__name__}: not of format {FORMAT}")
        kept = newer(orjson.loads(raw)[1], orjson.loads(dumps(value))) if self._longer else None
        return value, kept


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


def _reader(kind: Any, also: dict[Any, Callable[..., Any]], longer: list[type]) -> Convert:
    """What makes a dataclass of an array; only fields that JSON does not give back as they were cost anything."""
    of_fields = hints(kind)
    width = len(fields(kind))
    converts = [_convert(of_fields[field.name], also, longer) for field in fields(kind)]
    places = [(place, convert) for place, convert in enumerate(converts) if convert is not None]

    def read(values: list[Any]) -> Any:
        size = len(values)
        for place, convert in places:
            if place < size and (value := values[place]) is not None:
                values[place] = convert(value)
        if size > width:
            longer.append(kind)
            del values[width:]
        return kind(*values)

    return read


def _convert(hint: Any, also: dict[Any, Callable[..., Any]], longer: list[type]) -> Convert | None:
    """What makes a field's value of what JSON gives; None where that is the value."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in also:
        return _made(hint, also[hint], longer)
    if is_dataclass(hint):
        return _reader(hint, also, longer)
    if origin is Literal:
        return {arg: arg for arg in args}.__getitem__  # one text for all values, and an error for any other
    if origin in (Union, UnionType):
        converts = [_convert(arg, also, longer) for arg in args if arg is not NoneType]
        assert len(converts) == 1 or not any(converts), "of several kinds, JSON can't tell which it was"
        return converts[0]
    if origin is tuple and args[0] in also:
        return _made_each(args[0], also[args[0]], longer)
    if origin is tuple:
        return _tuple(_convert(args[0], also, longer))
    if origin is dict:
        return _dict(_convert(args[1], also, longer), by_number=args[0] is int)
    return None


def _made(kind: Any, make: Callable[..., Any], longer: list[type]) -> Convert:
    """A part's value made by `make`."""
    width = len(fields(kind))

    def read(values: list[Any]) -> Any:
        if len(values) > width:
            longer.append(kind)
        return make(*values[:width])

    return read


def _made_each(kind: Any, make: Callable[..., Any], longer: list[type]) -> Convert:
    """Each of many parts made by `make`: they are counted once, and called for without a line of Python."""
    one = _made(kind, make, longer)
    width = len(fields(kind))

    def read(values: list[list[Any]]) -> Any:
        if max(map(len, values), default=0) > width:
            return tuple(map(one, values))
        return tuple(starmap(make, values))

    return read


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
