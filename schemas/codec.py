"""Bytes to typed envelopes and back: the only edge where records are validated or written.

The one rule: what does not fit raises `Poison`, whose text names the field, the value's kind and what was expected, never the value itself.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from types import UnionType
from typing import Annotated, Any, Literal, get_args

import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from schemas.decisions import Cause, Decision
from schemas.envelope import Envelope, PartitionEnvelope, from_ms
from schemas.events import Event, RouterTick
from schemas.notices import Notice
from schemas.outcomes import CrmSettled, MailSettled
from schemas.transcripts import TranscriptCompleted

ERRORS_SHOWN_MAX = 3


class Poison(Exception):
    """A record that can't be read. The message is safe to log: it holds no value of the record."""


class UnknownType(Exception):
    """A sound envelope whose type this version does not know: a newer publisher. The message is the type."""


class Codec:
    """Reads the envelopes of one closed union of data classes.

    `decode` returns an `Envelope` (or `PartitionEnvelope` for a tick) and raises `Poison` or `UnknownType`.
    """

    def __init__(self, members: tuple[type, ...]) -> None:
        """`members`: data classes with a `TYPE`; each becomes one branch, told apart by the envelope's `type`."""
        branches: list[Any] = [
            (PartitionEnvelope if member is RouterTick else Envelope)[Literal[member.TYPE], member]  # type: ignore[attr-defined]
            for member in members
        ]
        union: Any = branches[0]
        for branch in branches[1:]:
            union = union | branch
        shape: Any = Annotated[union, Field(discriminator="type")] if len(branches) > 1 else union
        config = ConfigDict(strict=True, allow_inf_nan=False)
        self.adapter: TypeAdapter[Any] = TypeAdapter(shape, config=config)
        # The adapter's own method hands over eight more arguments with every record.
        self._validate = self.adapter.validator.validate_json
        self._any: TypeAdapter[Any] = TypeAdapter(Envelope[str, dict[str, Any]], config=config)
        self.types = frozenset(member.TYPE for member in members)  # type: ignore[attr-defined]

    def decode(self, raw: bytes | str | None) -> Any:
        """The envelope in `raw`; `Any`, since its data is a member of the union this codec was made for."""
        if raw is None:
            raise Poison("the record has no value; a JSON object was expected")
        try:
            return self._validate(raw)
        except ValidationError as error:
            raise self._explain(error, raw) from None

    def _explain(self, error: ValidationError, raw: bytes | str) -> Exception:
        """`UnknownType` where only the type is unknown, otherwise `Poison` that says what is wrong."""
        first = error.errors(include_url=False, include_context=False)[0]["type"]
        if first in ("union_tag_invalid", "literal_error"):
            try:
                kind: str = self._any.validate_json(raw).type
            except ValidationError as inner:
                return Poison(_told(inner))
            if kind not in self.types:
                return UnknownType(kind)
        return Poison(_told(error))


def _told(error: ValidationError) -> str:
    """Where and what, without the values (pydantic's own messages for these may quote them)."""
    problems = error.errors(include_url=False, include_context=False)
    lines = []
    for problem in problems[:ERRORS_SHOWN_MAX]:
        place = ".".join(str(part) for part in problem["loc"] if _is_ours(part)) or "the record"
        match problem["type"]:
            case "json_invalid":
                lines.append("not JSON")
            case "union_tag_not_found":
                lines.append("type: missing; the event's type was expected")
            case "missing":
                lines.append(f"{place}: missing; this field is required")
            case _:
                expected = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
                lines.append(f"{place}: {_kind(problem['input'])} given; {expected}")
    if len(problems) > ERRORS_SHOWN_MAX:
        lines.append(f"and {len(problems) - ERRORS_SHOWN_MAX} more")
    return "; ".join(lines)


_KINDS = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}


def _kind(value: Any) -> str:
    """Return what JSON calls a value of this kind."""
    return _KINDS.get(type(value), "number")


def _is_ours(part: int | str) -> bool:
    """Whether a step of an error's path is a name of the contract: a key of a map is the publisher's own text."""
    return isinstance(part, int) or part in _field_names()


def _members(union: Any) -> tuple[type, ...]:
    return get_args(union) if isinstance(union, UnionType) else (union,)


events = Codec(_members(Event))
decisions = Codec(_members(Decision))
notices = Codec(_members(Notice))
transcripts = Codec((TranscriptCompleted,))
deliveries = Codec((MailSettled,))
activities = Codec((CrmSettled,))


@cache
def _field_names() -> frozenset[str]:
    """Every field name of the contract's dataclasses, envelope included."""
    modules = ("envelope", "events", "decisions", "notices", "transcripts", "outcomes")
    kinds = [kind for name in modules for kind in vars(import_module(f"schemas.{name}")).values()]
    return frozenset(field.name for kind in kinds if is_dataclass(kind) for field in fields(kind))


@cache
def _reader(kind: Any) -> Callable[[Any], dict[str, Any]]:
    """Writes what `plain` does for one dataclass as code, as `dataclasses` does for `__init__`: a loop over the fields takes thrice as long.

    A field may be empty if None is its default. Raises TypeError for what is no dataclass.
    """
    lines = ["def read(value):", "    found = {}"]
    for name, maybe_empty in [(field.name, field.default is None) for field in fields(kind)]:
        guard = f"if value.{name} is not None: " if maybe_empty else ""
        lines.append(f"    {guard}found['{name}'] = value.{name}")
    made: dict[str, Any] = {}
    exec("\n".join([*lines, "    return found"]), made)  # noqa: S102 - the names are identifiers of ours
    read: Callable[[Any], dict[str, Any]] = made["read"]
    return read


def plain(value: Any) -> dict[str, Any]:
    """A dataclass as a dict without its empty (None) fields; nested ones are left to `orjson`. Raises TypeError for anything else."""
    return _reader(value.__class__)(value)


def dumps(value: Any) -> bytes:
    """JSON of plain values and dataclasses, None fields left out."""
    return orjson.dumps(value, default=plain, option=orjson.OPT_PASSTHROUGH_DATACLASS)


def encode(
    data: Any, *, event_id: str, source: str, at_ms: int, workspace_id: str, cause: Cause | None = None
) -> bytes:
    """One envelope as bytes. `data` is a contract dataclass; decisions and notices carry their `cause`."""
    body = plain(data)
    if cause is not None:
        body["cause"] = cause
    envelope = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": data.TYPE,
        "time": from_ms(at_ms),
        "workspaceid": workspace_id,
    }
    audience = getattr(data, "AUDIENCE", None)
    if audience is not None:
        envelope["audience"] = audience
    envelope["data"] = body
    return dumps(envelope)


def encode_tick(*, event_id: str, source: str, at_ms: int, partition: int, limit_ms: int) -> bytes:
    """A tick's envelope, which names a partition and no workspace."""
    return dumps(
        {
            "specversion": "1.0",
            "id": event_id,
            "source": source,
            "type": RouterTick.TYPE,
            "time": from_ms(at_ms),
            "data": {"partition": partition, "limit_ms": limit_ms},
        }
    )
