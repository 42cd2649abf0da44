"""The README's tables of topics and event types, in the notation of the contract.

The one rule: `name` is required, `name?` may be absent, `name=x` is `x` when absent, `name=a|b` is one of these, `[]` a list, `{}` an object.
"""

from typing import Any

from schemas import jsonschema, marked, topics
from schemas.catalogue import CHANNELS

_DAY_MS = topics.DAY_MS


def of_topics() -> str:
    """Return the table of all topics, dead letters and state included."""
    known = {channel.topic: channel for channel in CHANNELS}
    rows = []
    for topic in topics.TOPICS:
        if topic.name.endswith(".dlq"):
            continue
        channel = known.get(topic.name)
        holds, writer, reader = (
            (channel.holds, channel.written_by, channel.read_by)
            if channel
            else (
                "changelog of its owner's state",
                topic.name.split(".")[1] + ", in transactions",
                "its owner",
            )
        )
        rows.append((f"`{topic.name}`", writer, reader, holds, _kept(topic)))
    dead = next(topic for topic in topics.TOPICS if topic.name.endswith(".dlq"))
    rows.append(
        (
            "`<topic>.dlq`",
            "whoever refused the record",
            "operators",
            "poison records, bytes untouched",
            _kept(dead),
        )
    )
    return marked.table(("topic", "written by", "read by", "holds", "kept"), rows)


def of_events() -> str:
    """Return one table of types for each topic."""
    out = []
    for channel in CHANNELS:
        rows = []
        for member in channel.members:
            data = jsonschema.of_type(member, is_input=channel.is_input)["properties"]["data"]
            audience = getattr(member, "AUDIENCE", None)
            said = data["description"].replace("\n", " ")
            rows.append(
                (
                    f"`{member.TYPE}`",
                    said,
                    _fields(data),
                    *((audience,) if channel.topic == topics.ROUTING else ()),
                )
            )
        head = ("type", "says", "data", *(("audience",) if channel.topic == topics.ROUTING else ()))
        out.append(f"#### `{channel.topic}`: {channel.holds}\n\n{marked.table(head, rows)}")
    return "\n\n".join(out)


def _kept(topic: topics.Topic) -> str:
    if topic.config["cleanup.policy"] == "compact":
        return "the latest of each key"
    return f"{int(topic.config['retention.ms']) // _DAY_MS} days"


def _fields(data: jsonschema.Schema) -> str:
    required = set(data.get("required", ()))
    fields = [
        _field(name, shape, is_required=name in required)
        for name, shape in data["properties"].items()
        if name != "cause"
    ]
    return ", ".join(fields)


def _field(name: str, shape: jsonschema.Schema, *, is_required: bool) -> str:
    optional = not is_required and shape.get("default", "") is None
    shapes = [item for item in shape.get("anyOf", [shape]) if item.get("type") != "null"]
    kind = shapes[0]
    mark = {"array": "[]", "object": "{}"}.get(kind.get("type", "object" if "$ref" in kind else ""), "")
    values = _values(kind, shape.get("default"))
    return f"`{name}{mark}{'?' if optional else ''}{values}`"


def _values(kind: jsonschema.Schema, default: Any) -> str:
    choices = list(kind.get("enum", ()))
    if choices:
        if default is not None:
            choices.sort(key=lambda item: item != default)
        return "=" + "|".join(choices)
    if isinstance(default, bool):
        return f"={'true' if default else 'false'}"
    if isinstance(default, (int, float, str)):
        return f'="{default}"' if isinstance(default, str) else f"={default}"
    return ""
