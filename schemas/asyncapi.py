"""The contract as one AsyncAPI 3.0 document: channels (topics), messages (types) and operations.

The one rule: it is told from the services' side, so `receive` is what others publish and `send` is what they read.
"""

from typing import Any

from schemas import jsonschema, topics
from schemas.catalogue import CHANNELS, Channel

Schema = jsonschema.Schema

_INFO = {
    "title": "Chat routing",
    "version": "1.0.0",
    "description": (
        "Records are CloudEvents 1.0 in structured JSON mode, keyed by the workspace id. Unknown fields are ignored and unknown "
        "types are skipped. A record of a known type that does not validate goes to the topic's dead-letter topic."
    ),
}


def document() -> Schema:
    """Return the AsyncAPI document. Shared parts stand once, under `components.schemas`."""
    parts: dict[str, Schema] = {}
    messages: dict[str, Schema] = {}
    for channel in CHANNELS:
        for member in channel.members:
            messages[member.TYPE] = _message(member, channel, parts)
    return {
        "asyncapi": "3.0.0",
        "info": _INFO,
        "defaultContentType": "application/json",
        "channels": {channel.topic: _channel(channel) for channel in CHANNELS},
        "operations": {_operation_name(channel): _operation(channel) for channel in CHANNELS},
        "components": {
            "messages": dict(sorted(messages.items())),
            "schemas": dict(sorted(parts.items())),
        },
    }


def _message(member: Any, channel: Channel, parts: dict[str, Schema]) -> Schema:
    payload = _moved(jsonschema.of_type(member, is_input=channel.is_input))
    for name, part in payload.pop("$defs", {}).items():
        assert parts.setdefault(name, part) == part, f"two parts are called {name}"
    for key in ("$schema", "$id"):
        payload.pop(key)
    name = member.TYPE
    parts[name] = payload
    key_said = "The partition number." if "workspaceid" not in payload["properties"] else "The workspace id."
    return {
        "name": name,
        "title": name,
        "summary": payload["description"],
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "bindings": {
            "kafka": {"key": {"type": "string", "description": key_said}, "bindingVersion": "0.5.0"}
        },
    }


def _channel(channel: Channel) -> Schema:
    topic = next(topic for topic in topics.TOPICS if topic.name == channel.topic)
    return {
        "address": channel.topic,
        "title": channel.topic,
        "description": f"Holds {channel.holds}. Written by {channel.written_by}; read by {channel.read_by}.",
        "messages": {
            member.TYPE: {"$ref": f"#/components/messages/{member.TYPE}"} for member in channel.members
        },
        "bindings": {
            "kafka": {
                "topic": channel.topic,
                "topicConfiguration": {
                    "cleanup.policy": topic.config["cleanup.policy"].split(","),
                    "retention.ms": int(topic.config["retention.ms"]),
                    "max.message.bytes": int(topic.config["max.message.bytes"]),
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation_name(channel: Channel) -> str:
    return f"{'receive' if channel.is_input else 'send'}.{channel.topic}"


def _operation(channel: Channel) -> Schema:
    return {
        "action": "receive" if channel.is_input else "send",
        "channel": {"$ref": f"#/channels/{channel.topic}"},
        "summary": f"{'Read' if channel.is_input else 'Write'} {channel.holds}.",
    }


def _moved(node: Any) -> Any:
    """Point references at the document's shared parts."""
    if isinstance(node, list):
        return [_moved(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: item.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _moved(item)
        for key, item in node.items()
    }
