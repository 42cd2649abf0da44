"""Says which changes of the contract break somebody who was built against an earlier one.

The one rule: on a topic the services read, whatever was valid must stay valid; on a topic they write, that holds both ways, since old
readers meet new records and the services themselves meet the old ones that are still kept. What can't be kept becomes a new type (`….v2`).
"""

import json
import sys
from pathlib import Path
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_EXACT = ("pattern", "format")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


class _Side:
    """One version of the contract: an AsyncAPI document with the look-up of its shared parts."""

    def __init__(self, document: Schema) -> None:
        self._parts: dict[str, Schema] = document["components"]["schemas"]
        self.topics = {
            channel["address"]: (tuple(channel["messages"]), action)
            for channel, action in _channels(document)
        }

    def resolved(self, schema: Schema) -> Schema:
        """Return what `schema` means, its reference followed."""
        reference = schema.get("$ref")
        return self._parts[reference.rsplit("/", 1)[1]] if reference else schema

    def record(self, name: str) -> Schema:
        """Return the schema of a type's whole record."""
        return self._parts[name]


def _channels(document: Schema) -> list[tuple[Schema, str]]:
    found = []
    for operation in document["operations"].values():
        name = operation["channel"]["$ref"].rsplit("/", 1)[1]
        found.append((document["channels"][name], operation["action"]))
    return found


def problems(*, old: Schema, new: Schema) -> list[str]:
    """Return what breaks an older reader or writer, one line each; empty when `new` may replace `old`.

    Both are AsyncAPI documents as `schemas.asyncapi.document` makes them.
    """
    before, after = _Side(old), _Side(new)
    found: list[str] = []
    for topic, (names, action) in before.topics.items():
        if topic not in after.topics:
            found.append(f"{topic}: the topic is gone")
            continue
        kept, action_now = after.topics[topic]
        if action_now != action:
            found.append(f"{topic}: was {action}, is {action_now}")
        for name in names:
            if name not in kept:
                found.append(f"{name}: the type is gone from {topic}")
                continue
            lines = _unreadable(before.record(name), after.record(name), before, after, name)
            lines += _lost(before.record(name), after.record(name), before, after, name)
            if action == "send":
                lines += [
                    f"{line} (an older reader refuses it)"
                    for line in _unreadable(after.record(name), before.record(name), after, before, name)
                ]
            found += lines
    return list(dict.fromkeys(found))


def _unreadable(written: Schema, read: Schema, writer: _Side, reader: _Side, place: str) -> list[str]:
    """Return why something valid for the writer's schema is not valid for the reader's."""
    written, read = writer.resolved(written), reader.resolved(read)
    if "anyOf" in written:
        return [
            line for branch in written["anyOf"] for line in _unreadable(branch, read, writer, reader, place)
        ]
    if "anyOf" in read:
        tries = [_unreadable(written, branch, writer, reader, place) for branch in read["anyOf"]]
        return [] if [] in tries else min(tries, key=len)
    values = _values(written)
    allowed = _values(read)
    if allowed is not None:
        if values is None:
            return [f"{place}: only {_shown(allowed)} is read now"]
        extra = [value for value in values if value not in allowed]
        return [f"{place}: {_shown(extra)} is not read"] if extra else []
    if not _type_fits(written, read):
        return [f"{place}: {written.get('type', 'anything')} became {read.get('type', 'anything')}"]
    return [
        *_limits(written, read, place),
        *_members(written, read, writer, reader, place),
    ]


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")


def _shown(values: list[Any]) -> str:
    return ", ".join(json.dumps(value, ensure_ascii=False) for value in values)


def _type_fits(written: Schema, read: Schema) -> bool:
    values = _values(written)
    if values is not None and "type" not in written:
        return all(isinstance(value, str) for value in values) and read.get("type") in (None, "string")
    return (
        "type" not in read
        or written.get("type") == read["type"]
        or (written.get("type"), read["type"]) == ("integer", "number")
    )


def _limits(written: Schema, read: Schema, place: str) -> list[str]:
    def is_tighter(name: str) -> bool:
        was, now = written.get(name), read[name]
        if was is None or name in _EXACT:
            return bool(was != now)
        return bool(now > was if name in _LOWER else now < was)

    return [
        f"{place}: {name} is {read[name]}, was {written.get(name, 'none')}"
        for name in (*_LOWER, *_UPPER, *_EXACT)
        if name in read and is_tighter(name)
    ]


def _members(written: Schema, read: Schema, writer: _Side, reader: _Side, place: str) -> list[str]:
    """Compare what objects and lists hold. A field only one side knows is ignored by the reader or absent for it."""
    found = [
        f"{place}.{name}: is required and may be absent"
        for name in read.get("required", ())
        if name not in written.get("required", ())
    ]
    mine, theirs = written.get("properties", {}), read.get("properties", {})
    for name in mine:
        if name in theirs:
            found += _unreadable(mine[name], theirs[name], writer, reader, f"{place}.{name}")
    for name, step in (("items", "[]"), ("additionalProperties", "{}"), ("propertyNames", "{key}")):
        if isinstance(read.get(name), dict):
            found += _unreadable(written.get(name) or {}, read[name], writer, reader, place + step)
    return found


def _lost(old: Schema, new: Schema, before: _Side, after: _Side, place: str) -> list[str]:
    """Return the fields that are gone, and the defaults that changed: what is absent would mean something else."""
    old, new = before.resolved(old), after.resolved(new)
    found = []
    was, now = old.get("properties", {}), new.get("properties", {})
    for name, shape in was.items():
        here = f"{place}.{name}"
        if name not in now:
            found.append(f"{here}: the field is gone")
            continue
        if "default" in shape and shape.get("default") != now[name].get("default"):
            found.append(
                f"{here}: the default was {_shown([shape['default']])}, is {_shown([now[name].get('default')])}"
            )
        found += _lost(shape, now[name], before, after, here)
    for step, name in (("[]", "items"), ("{}", "additionalProperties")):
        if isinstance(old.get(name), dict) and isinstance(new.get(name), dict):
            found += _lost(old[name], new[name], before, after, place + step)
    objects = [_only_object(side, schema) for side, schema in ((before, old), (after, new))]
    if objects[0] is not None and objects[1] is not None:
        found += _lost(objects[0], objects[1], before, after, place)
    return found


def _only_object(side: _Side, schema: Schema) -> Schema | None:
    """Return the object of "an object or null", where the schema is that."""
    shapes = [side.resolved(branch) for branch in schema.get("anyOf", ())]
    objects = [shape for shape in shapes if shape.get("type") == "object"]
    return objects[0] if len(objects) == 1 else None


def main() -> None:
    """Compare two AsyncAPI documents: `python -m schemas.compatibility OLD NEW`; exit 1 where the new one breaks somebody."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m schemas.compatibility OLD.json NEW.json")
    old, new = (json.loads(Path(path).read_text(encoding="utf-8")) for path in sys.argv[1:])
    found = problems(old=old, new=new)
    for line in found:
        sys.stdout.write(f"{line}\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
