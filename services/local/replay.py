"""The offline run: the router's core over a file, without Kafka.

One rule: what it gives for an exported log is, record for record, what the topics hold.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.envelope import Envelope
from schemas.events import DepartmentConfigured, Routing
from services.local.errors import LocalError
from services.local.input_log import holds_ticks, read
from services.router.core.offline import run
from services.router.core.partition import Emitted, Entry

_ROUTING: TypeAdapter[Routing] = TypeAdapter(Routing)
_SETTINGS = frozenset(field.name for field in fields(Routing))


def replay(
    path: Path, *, until_ms: int | None = None, overrides: Mapping[str, Mapping[str, object]] | None = None
) -> Iterator[Emitted]:
    """Give every decision and notice that follows from the file, in order.

    Records after `until_ms` are left out. `overrides` are settings of departments which replace those in the file.
    Raises BadLine at a line that can't be read, after all that follows from the lines before it.
    """
    entries: Iterable[Entry] = read(path)
    if until_ms is not None:
        entries = (entry for entry in entries if entry.at_ms <= until_ms)
    if overrides:
        entries = (_overridden(entry, overrides) for entry in entries)
    yield from run(entries, ticks=holds_ticks(path), until_ms=until_ms)


def read_routing(path: Path) -> dict[str, object]:
    """Return the routing settings of a file, a JSON object with some of the contract's fields. Raises LocalError."""
    try:
        given = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise LocalError(
            f"{path} cannot be read as JSON ({error}): it needs an object of routing settings."
        ) from error
    if not isinstance(given, dict):
        raise LocalError(f'{path}: it needs an object of routing settings, such as {{"mode": "ring_all"}}.')
    unknown = sorted(given.keys() - _SETTINGS)
    if unknown:
        raise LocalError(
            f"{path}: {unknown[0]} is no routing setting: choose from {', '.join(sorted(_SETTINGS))}."
        )
    try:
        routing = _ROUTING.validate_json(orjson.dumps(given), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise LocalError(f"{path}: {place}: {first['msg']}.") from None
    return {name: getattr(routing, name) for name in given}


def _overridden(entry: Entry, overrides: Mapping[str, Mapping[str, object]]) -> Entry:
    envelope = entry.envelope
    if not isinstance(envelope, Envelope) or not isinstance(envelope.data, DepartmentConfigured):
        return entry
    settings = envelope.data
    wanted = overrides.get(settings.department_id)
    if wanted is None:
        return entry
    routing = replace(settings.routing, **wanted)  # type: ignore[arg-type]
    return replace(entry, envelope=replace(envelope, data=replace(settings, routing=routing)))
