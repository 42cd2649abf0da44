"""The topics and access lists as Strimzi's resources, so that on Kubernetes its operators make them and keep them.

The one rule: nothing is written here twice; all of it follows from the contract's topics and from `principals.py`.
"""

from schemas.topics import PARTITIONS_DEFAULT, TOPICS, Topic
from services.local.principals import PRINCIPALS, Permission, Principal

CLUSTER = "chat"
_HEAD = "# Generated, see make generate: {said}\n"
_KINDS = {"topic": "topic", "group": "group", "transactional_id": "transactionalId"}


def topics() -> str:
    """Return the topics as one broker has them; an overlay changes partitions and replicas of all at once."""
    return _HEAD.format(said="the topics of the contract.") + "---\n".join(map(_topic, TOPICS))


def users() -> str:
    """Return the principals, each with a password that Strimzi makes, and its access list."""
    said = "who may do what (services/local/principals.py); passwords are in secrets of these names."
    return _HEAD.format(said=said) + "---\n".join(map(_user, PRINCIPALS))


def _resource(kind: str, name: str, spec: str) -> str:
    return (
        f"apiVersion: kafka.strimzi.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n"
        f"  labels: {{strimzi.io/cluster: {CLUSTER}}}\nspec:\n{spec}"
    )


def _topic(topic: Topic) -> str:
    settings = "".join(f'    {name}: "{value}"\n' for name, value in topic.config.items())
    return _resource(
        "KafkaTopic",
        topic.name,
        f"  partitions: {PARTITIONS_DEFAULT}\n  replicas: 1\n  config:\n{settings}",
    )


def _user(principal: Principal) -> str:
    lines = "".join(f"      - {_line(each)}\n" for each in principal.permissions())
    return _resource(
        "KafkaUser",
        principal.name,
        f"  authentication: {{type: scram-sha-512}}\n  authorization:\n    type: simple\n    acls:\n{lines}",
    )


def _line(permission: Permission) -> str:
    pattern = "prefix" if permission.prefixed else "literal"
    resource = f"{{type: {_KINDS[permission.kind]}, name: {permission.name}, patternType: {pattern}}}"
    return f"{{operations: [{permission.operation.capitalize()}], resource: {resource}}}"
