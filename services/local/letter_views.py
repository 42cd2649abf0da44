"""What an operator sees of a dead letter.

The one rule: what people wrote, and who they are, is shown only when it is asked for; whatever is shown is printable text of
bounded length, since a publisher may have put terminal commands into it.
"""

import re
from typing import Any

import orjson

from schemas.envelope import from_ms
from services.local.display import visible
from services.local.dlq import Filed
from services.runtime.deadletter import ORIGIN, Letter

SHOWN_BYTES_MAX = 4_096
KEY_BYTES_MAX = 128
_ITEMS_MAX = 3
_DEPTH_MAX = 8
_ENVELOPE = ("specversion", "id", "source", "type", "time", "workspaceid", "audience")
_TECHNICAL = re.compile(r"[A-Za-z0-9_.:/+-]{1,128}")
"""What ids, types and times are made of; a name with a space or an address with an @ is not."""
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,63}")
_HIDDEN = "…"


def summary(filed: Filed) -> dict[str, Any]:
    """Return what `list` tells of a letter; nothing in it is personal."""
    letter = filed.letter
    record = letter.record
    origin = dict(letter.headers).get(ORIGIN)
    return {
        "letter": letter.place,
        "refused_at": from_ms(record.timestamp_ms),
        "workspace": None if record.key is None else printable(record.key, bytes_max=KEY_BYTES_MAX),
        "exception": letter.exception,
        "reason": printable(letter.reason.encode()),
        "record": f"{letter.topic}/{record.partition}/{letter.offset}",
        "bytes": len(record.value or b""),
        "redriven": filed.redriven,
        "origin": None if origin is None else printable(origin, bytes_max=KEY_BYTES_MAX),
    }


def detail(filed: Filed, *, raw: bool, bytes_max: int = SHOWN_BYTES_MAX) -> str:
    """Return what `show` tells of a letter, a line each; with `raw` also what may be personal."""
    letter = filed.letter
    lines = [f"{name + ':':<12}{_told(told)}" for name, told in summary(filed).items()]
    for name, value in letter.headers:
        shown = printable(value, bytes_max=bytes_max) if raw else f"{len(value or b'')} bytes {_HIDDEN}"
        lines.append(f"{'header:':<12}{printable(name.encode(), bytes_max=KEY_BYTES_MAX)} = {shown}")
    body = (
        printable(letter.record.value, bytes_max=bytes_max) if raw else outline(letter, bytes_max=bytes_max)
    )
    return "\n".join([*lines, "value:", body])


def _told(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def printable(value: bytes | None, *, bytes_max: int = SHOWN_BYTES_MAX) -> str:
    """Return bytes as text: what is no UTF-8, or does not print, is escaped; what is too long is cut, and says so."""
    if value is None:
        return "(none)"
    text = value[:bytes_max].decode("utf-8", "backslashreplace")
    shown = visible(text)
    cut = len(value) - bytes_max
    return f"{shown} {_HIDDEN} and {cut} bytes more" if cut > 0 else shown


def outline(letter: Letter, *, bytes_max: int = SHOWN_BYTES_MAX) -> str:
    """Return the shape of a value: its envelope and field names, and of everything else only the kind."""
    try:
        value = orjson.loads(letter.record.value or b"")
    except orjson.JSONDecodeError:
        return f"no JSON, {len(letter.record.value or b'')} bytes {_HIDDEN}"
    shape = _shape(value, depth=0)
    if isinstance(value, dict):
        for name in _ENVELOPE:
            told = value.get(name)
            if isinstance(told, str) and _TECHNICAL.fullmatch(told):
                shape[name] = told
    lines = orjson.dumps(shape, option=orjson.OPT_INDENT_2).splitlines()
    shown = "\n".join(printable(line) for line in lines)
    return shown if len(shown) <= bytes_max else f"{shown[:bytes_max]} {_HIDDEN}"


def _shape(value: Any, *, depth: int) -> Any:
    if depth == _DEPTH_MAX:
        return _HIDDEN
    match value:
        case dict():
            return {
                name if _FIELD.fullmatch(name) else _HIDDEN: _shape(item, depth=depth + 1)
                for name, item in value.items()
            }
        case list():
            items = [_shape(item, depth=depth + 1) for item in value[:_ITEMS_MAX]]
            return items if len(value) <= _ITEMS_MAX else [*items, f"{len(value) - _ITEMS_MAX} more"]
        case str():
            return f"text of {len(value)} {_HIDDEN}"
        case bool():
            return f"boolean {_HIDDEN}"
        case None:
            return None
        case _:
            return f"number {_HIDDEN}"
