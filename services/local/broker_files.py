"""The files an embedded broker reads: its properties and its log settings.

One rule: every path in them is relative to the broker's own folder, so a data folder may be moved and may have any name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.local.ports import LOOPBACK

LOG_FILE = "server.log"
DATA_FOLDER = "log"


@dataclass(frozen=True, slots=True)
class Door:
    """A further listener, which tells its clients to come by another port than its own: that of a proxy before it.

    Its name is DOOR and its number, from 0: that is how broker settings speak of a `protocol` other than PLAINTEXT.
    """

    port: int
    advertised_port: int
    protocol: str = "PLAINTEXT"


@dataclass(frozen=True, slots=True)
class Node:
    """One combined broker and controller; `node_id` counts from 1."""

    node_id: int
    client_port: int
    controller_port: int
    doors: tuple[Door, ...] = ()


def server_properties(node: Node, *, nodes: Sequence[Node], overrides: Mapping[str, str]) -> str:
    """Return the text of `server.properties` of `node` in a cluster of `nodes`."""
    replicas = str(min(len(nodes), 3))
    in_sync_min = "2" if len(nodes) >= 3 else "1"
    doors = list(enumerate(node.doors))
    advertised = [
        f"PLAINTEXT://{LOOPBACK}:{node.client_port}",
        *(f"DOOR{number}://{LOOPBACK}:{door.advertised_port}" for number, door in doors),
    ]
    listeners = [
        f"PLAINTEXT://{LOOPBACK}:{node.client_port}",
        f"CONTROLLER://{LOOPBACK}:{node.controller_port}",
        *(f"DOOR{number}://{LOOPBACK}:{door.port}" for number, door in doors),
    ]
    protocols = [
        "PLAINTEXT:PLAINTEXT",
        "CONTROLLER:PLAINTEXT",
        *(f"DOOR{number}:{door.protocol}" for number, door in doors),
    ]
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(node.node_id),
        "controller.quorum.voters": ",".join(f"{n.node_id}@{LOOPBACK}:{n.controller_port}" for n in nodes),
        "listeners": ",".join(listeners),
        "advertised.listeners": ",".join(advertised),
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": ",".join(protocols),
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": DATA_FOLDER,
        # A misspelt topic is an error, not a new topic.
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync_min,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync_min,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync_min,
        # 50 by default: each is a file to open at start and a leader to move when a broker dies.
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.num.partitions": "8",
        # A group of ours is started at once; waiting 3 s for more members only delays it.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "transaction.max.timeout.ms": "300000",
        # A killed broker is noticed, and let in again after its restart, in 3 s (9 by default).
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # A transaction of a dead producer holds back `read_committed` readers until somebody looks (10 s by default).
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        # 128 MB by default, a quarter of the heap.
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        "log.index.size.max.bytes": str(1024 * 1024),
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
    } | dict(overrides)
    return "".join(f"{name}={_escaped(value)}\n" for name, value in settings.items())


def _escaped(value: str) -> str:
    """Return a value as java.util.Properties reads it back, whatever characters it has."""
    plain = value.replace("\\", "\\\\").replace("\n", "\\n")
    return "".join(character if character.isascii() else f"\\u{ord(character):04x}" for character in plain)


LOG4J_PROPERTIES = f"""\
rootLogger.level = INFO
rootLogger.appenderRef.file.ref = FILE

# Every setting on every start: 400 lines that hide the one that matters.
logger.config.name = org.apache.kafka.common.config
logger.config.level = WARN

appender.file.type = RollingFile
appender.file.name = FILE
appender.file.fileName = {LOG_FILE}
appender.file.filePattern = {LOG_FILE}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = [%d] %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 3
"""
