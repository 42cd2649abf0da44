"""The offline run: the router's core over a file, without Kafka; a log as it stands, or a scenario acted out afresh.

One rule: what it gives for an exported log is, record for record, what the topics hold.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from itertools import chain, takewhile
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.envelope import Envelope
from schemas.events import DepartmentConfigured, Event, Routing
from schemas.topics import PARTITIONS_DEFAULT
from services.local import scenario
from services.local.errors import LocalError
from services.local.input_log import holds_ticks, read
from services.local.rehearsal import Rehearsal
from services.router.core.offline import Happening, happenings
from services.router.core.partition import Emitted, Entry

_ROUTING: TypeAdapter[Routing] = TypeAdapter(Routing)
_SETTINGS = frozenset(field.name for field in fields(Routing))

Overrides = Mapping[str, Mapping[str, object]]
"""Settings by department, which replace those in the file."""


def replay(
    path: Path, *, until_ms: int | None = None, overrides: Overrides | None = None
) -> Iterator[Emitted]:
    """Give every decision and notice that follows from the file, in order; see `repeated`."""
    happened = repeated(path, until_ms=until_ms, overrides=overrides)
    return (happening for happening in happened if isinstance(happening, Emitted))


def repeated(
    path: Path, *, until_ms: int | None = None, overrides: Overrides | None = None
) -> Iterator[Happening]:
    """Give every record of a log and what follows from it, in order; people do again what they did.

    Records after `until_ms` are left out. Raises BadLine at a line that can't be read, after all that follows from the
    lines before it.
    """
    entries: Iterable[Entry] = read(path)
    if until_ms is not None:
        entries = (entry for entry in entries if entry.at_ms <= until_ms)
    if overrides:
        entries = (_overridden(entry, overrides) for entry in entries)
    yield from happenings(entries, ticks=holds_ticks(path), until_ms=until_ms)


def acted(
    path: Path, *, until_ms: int | None = None, overrides: Overrides | None = None
) -> Iterator[Happening]:
    """Give what happens when a scenario is acted out: the same people come, and react to what is decided now."""
    day = scenario.read(path)
    events = [replace(event, data=_settled(event.data, overrides or {})) for event in day.events]
    rehearsal = Rehearsal(replace(day, events=tuple(events)), PARTITIONS_DEFAULT)
    happened: Iterator[Happening] = chain.from_iterable((one.entry, *one.emitted) for one in rehearsal.run())
    return takewhile(lambda one: until_ms is None or one.at_ms <= until_ms, happened)


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


def _overridden(entry: Entry, overrides: Overrides) -> Entry:
    envelope = entry.envelope
    if not isinstance(envelope, Envelope) or not isinstance(envelope.data, DepartmentConfigured):
        return entry
    return replace(entry, envelope=replace(envelope, data=_settled(envelope.data, overrides)))


def _settled(settings: Event, overrides: Overrides) -> Event:
    """Return a department's settings with those wanted; any other event as it is."""
    if not isinstance(settings, DepartmentConfigured) or settings.department_id not in overrides:
        return settings
    wanted = overrides[settings.department_id]
    return replace(settings, routing=replace(settings.routing, **wanted))  # type: ignore[arg-type]
