"""Creates the topics of the contract, or says how existing ones differ from it.

One rule: an existing topic is never changed or deleted here; an operator decides about that, knowing what is in it.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, TopicAlreadyExistsError, for_code

from schemas.topics import PARTITIONS_DEFAULT, TOPICS, Topic
from services.local.errors import LocalError
from services.local.topic_log import reached

_REPLICAS_MAX = 3
_REQUEST_LIMIT_MS = 20_000
_POLL_INTERVAL_S = 0.05
_POLLS_MAX = 400


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting of an existing topic which is not as the contract has it."""

    topic: str
    setting: str
    wanted: str
    found: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was created, and how the topics that were there before differ."""

    created: tuple[str, ...]
    differences: tuple[Difference, ...]


async def ensure_topics(
    bootstrap: str,
    *,
    partitions: int = PARTITIONS_DEFAULT,
    replicas: int | None = None,
    topics: tuple[Topic, ...] = TOPICS,
) -> Report:
    """Create the topics that are missing and compare the others; return when the new ones can be used.

    `replicas` are by default 3, or as many as there are brokers. Raises LocalError when there is no Kafka, or when it
    refuses.
    """
    admin = AIOKafkaAdminClient(**reached(bootstrap).client(), request_timeout_ms=_REQUEST_LIMIT_MS)
    try:
        await admin.start()
    except KafkaConnectionError as error:
        await admin.close()
        raise LocalError(
            f"No Kafka answers at {bootstrap}: check the address, or leave --bootstrap out to use the embedded one."
        ) from error
    try:
        if replicas is None:
            replicas = min(_REPLICAS_MAX, len((await admin.describe_cluster())["brokers"]))
        existing = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
        missing = tuple(topic for topic in topics if topic.name not in existing)
        await _create(admin, missing, partitions=partitions, replicas=replicas)
        present = tuple(topic for topic in topics if topic.name in existing)
        differences = [
            Difference(topic.name, "partitions", str(partitions), str(existing[topic.name]))
            for topic in present
            if existing[topic.name] != partitions
        ]
        differences += await _config_differences(admin, present, replicas=replicas)
        return Report(tuple(topic.name for topic in missing), tuple(differences))
    finally:
        await admin.close()


async def _create(
    admin: AIOKafkaAdminClient, topics: tuple[Topic, ...], *, partitions: int, replicas: int
) -> None:
    if not topics:
        return
    answer = await admin.create_topics(
        [
            NewTopic(topic.name, partitions, replicas, topic_configs=_config(topic, replicas))
            for topic in topics
        ]
    )
    for name, code, *message in answer.topic_errors:
        # "Exists" means another process created it at this moment, by the same contract.
        if code not in (0, TopicAlreadyExistsError.errno):
            reason = (message[0] if message else None) or for_code(code).__name__
            raise LocalError(f"Kafka refuses to create the topic {name}: {str(reason).rstrip('.')}.")
    await await_led(admin, [topic.name for topic in topics], partitions=partitions)


async def await_led(admin: AIOKafkaAdminClient, names: list[str], *, partitions: int) -> None:
    """Return when so many partitions of new or grown topics can be used. Raises LocalError."""
    for _ in range(_POLLS_MAX):
        if await _all_led(admin, names, partitions=partitions):
            return
        await asyncio.sleep(_POLL_INTERVAL_S)
    raise LocalError("The new topics have no leader yet: look at the health of the brokers and run it again.")


async def _all_led(admin: AIOKafkaAdminClient, names: list[str], *, partitions: int) -> bool:
    described: list[dict[str, Any]] = await admin.describe_topics(names)
    return all(
        len(topic["partitions"]) == partitions and all(part["leader"] >= 0 for part in topic["partitions"])
        for topic in described
    )


def _config(topic: Topic, replicas: int) -> dict[str, str]:
    """Return the settings; with three replicas an acknowledged record stands in two, so one broker's loss loses nothing."""
    return topic.config if replicas < _REPLICAS_MAX else {**topic.config, "min.insync.replicas": "2"}


async def _config_differences(
    admin: AIOKafkaAdminClient, topics: tuple[Topic, ...], *, replicas: int
) -> list[Difference]:
    if not topics:
        return []
    found = await settings_of(admin, {topic.name: _config(topic, replicas) for topic in topics})
    return [
        Difference(topic.name, setting, wanted, found[topic.name].get(setting, "unknown to this Kafka"))
        for topic in topics
        for setting, wanted in sorted(_config(topic, replicas).items())
        if found[topic.name].get(setting) != wanted
    ]


async def settings_of(
    admin: AIOKafkaAdminClient, wanted: Mapping[str, Iterable[str]]
) -> dict[str, dict[str, str]]:
    """Return the named settings of existing topics as they are. Raises LocalError when Kafka does not tell."""
    answers = await admin.describe_configs(
        [
            ConfigResource(ConfigResourceType.TOPIC, topic, dict.fromkeys(names, ""))
            for topic, names in wanted.items()
        ]
    )
    found: dict[str, dict[str, str]] = {}
    for answer in answers:
        for code, message, _kind, name, entries in answer.resources:
            if code:
                raise LocalError(f"Kafka does not tell the settings of the topic {name}: {message}.")
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found
