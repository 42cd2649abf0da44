"""JSON Schemas of the contract, made from its data classes by pydantic.

The one rule: a schema says what the codec accepts; only what the writer promises beyond that (`cause`, `audience`) is added here.
"""

from typing import Any, Literal, TypeAlias, get_args

from pydantic import ConfigDict, TypeAdapter

from schemas.decisions import Caused
from schemas.envelope import Envelope, PartitionEnvelope
from schemas.events import RouterTick
from schemas.types import Audience

Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_ATTRIBUTES = {
    "specversion": "The version of CloudEvents.",
    "id": "Unique for its source: the same (source, id) again within 24 hours changes nothing.",
    "source": "Who says it, such as `/frontends/web`.",
    "type": "The type of `data`. A reader skips types it does not know.",
    "time": "When the publisher says it happened, RFC 3339. Routing goes by the broker's append time.",
    "workspaceid": "The workspace, which is also the record's key.",
    "audience": "Who may see it: frontends must filter by it. The `owner` is the chat's; of a monitor's decisions (`monitor.*`, and `participant.*` with role=monitor) it is the monitor's owner alone.",
    "data": "What happened.",
}
_SAID_BY_THE_SERVICES = {
    "id": "Deterministic: the same input gives the same id.",
    "time": "When it was decided or done, RFC 3339.",
}


def of_type(member: Any, *, is_input: bool) -> Schema:
    """Return the JSON Schema (2020-12) of a whole record of this type, its envelope included."""
    envelope: Any = PartitionEnvelope if member is RouterTick else Envelope
    adapter: TypeAdapter[Any] = TypeAdapter(
        envelope[Literal[member.TYPE], member], config=ConfigDict(strict=True, allow_inf_nan=False)
    )
    schema = _tidied(adapter.json_schema())
    parts: dict[str, Schema] = schema.pop("$defs", {})
    data = parts.pop(member.__name__)
    if issubclass(member, Caused):
        data["properties"]["cause"] = {
            "$ref": "#/$defs/Cause",
            "description": "What it follows from.",
        }
        data["required"] = [*data["required"], "cause"]
    properties: dict[str, Schema] = schema["properties"]
    audience = getattr(member, "AUDIENCE", None)
    required = list(schema["required"])
    properties.pop("audience", None)
    if audience is not None:
        assert audience in get_args(Audience), audience
        properties["audience"] = {"const": audience}
        required.append("audience")
    properties["data"] = data
    words = _ATTRIBUTES if is_input else {**_ATTRIBUTES, **_SAID_BY_THE_SERVICES}
    for name, said in words.items():
        if name in properties:
            properties[name].setdefault("description", said)
    return {
        "$schema": DIALECT,
        "$id": f"urn:chat-routing:{member.TYPE}",
        "title": member.TYPE,
        "description": data["description"],
        "type": "object",
        "properties": properties,
        "required": required,
        **({"$defs": dict(sorted(parts.items()))} if parts else {}),
    }


def _tidied(node: Any, *, names: bool = False) -> Any:
    """Drop the titles pydantic makes up from names (`names`: the node maps field names, where "title" would be a field)."""
    if isinstance(node, list):
        return [_tidied(item) for item in node]
    if not isinstance(node, dict):
        return node
    if not names and len(node.get("patternProperties", {})) == 1:
        node = _plain_map(node)
    return {
        key: _tidied(item, names=not names and key in ("properties", "$defs"))
        for key, item in node.items()
        if names or key != "title"
    }


def _plain_map(node: Schema) -> Schema:
    """Say of a map whose keys have a pattern what the codec does: it refuses other keys, where `patternProperties` lets them pass."""
    ((pattern, values),) = node["patternProperties"].items()
    plain = {key: item for key, item in node.items() if key != "patternProperties"}
    names = {**plain.get("propertyNames", {}), "pattern": pattern}
    return {**plain, "additionalProperties": values, "propertyNames": names}
