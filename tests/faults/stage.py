"""Where the faults happen: three brokers, three hosts with a router and a transcript worker each (or more), and the network between.

The one rule: hosts reach the brokers through the network only, while the driver and the judge reach them directly; so a fault
meets the workers and never those who publish or judge.
"""

import asyncio
import json
import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.topics import ROUTER_STATE, TRANSCRIPT_STATE
from services.local.files import read_from, size_of
from services.local.kafka import EmbeddedKafka
from services.local.ports import LOOPBACK, free_ports
from services.local.settings import LocalSettings
from services.local.supervisor import Supervisor, Worker
from services.local.topics import ensure_topics
from tests.faults.network import Network

BROKERS = HOSTS = 3
PARTITIONS = 6
ROUTER, TRANSCRIPT, NOTIFIER, CRM_SYNC = "router", "transcript", "notifier", "crm_sync"
STATES = {ROUTER: ROUTER_STATE, TRANSCRIPT: TRANSCRIPT_STATE}
WITH_CRM_SERVER = "tests.faults.crm_server"
"""Runs in crm_sync's place: the same, with a connector to a CRM that files whatever it is sent."""
SESSION_S, IO_LIMIT_S = 4.0, 6.5
"""A session is shorter than a call may take: most who are woken have not given up, and try to go on with what is no longer theirs."""
TICK_INTERVAL_MS = 200
PUBLIC_URL, LINK_SECRET = "http://pages.example", "no secret, since nobody opens these links"
LIMIT_S = 180.0
"""How long anything that must happen may take on a machine that is busy with other things."""
POLL_INTERVAL_S = 0.5
ABORTED_BYTES = 34
"""One aborted transaction in a `.txnindex` file (AbortedTxn of Kafka's storage module)."""
_PATIENT = LocalSettings(kafka_start_limit_s=LIMIT_S, worker_start_limit_s=LIMIT_S)
_NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker that ended by itself, as some faults make it, and was started again, as an orchestrator would."""

    name: str
    exit_code: int
    reason: str


def name_of(service: str, host: int) -> str:
    """Return the name of a worker, which is its instance id too."""
    return f"{service}-{host}"


class Stage:
    """The cluster with its topics and network, as a context manager, entered outside an event loop; no worker runs yet.

    `services` run on every host; `overrides` are environment variables for all workers. Left, no process and no port is there.
    """

    def __init__(
        self,
        folder: Path,
        *,
        brokers: int = BROKERS,
        hosts: int = HOSTS,
        services: Sequence[str] = tuple(STATES),
        archive: Path | None = None,
        overrides: Mapping[str, str] = _NO_OVERRIDES,
    ) -> None:
        self.archive = archive or folder / "archive.db"
        self._folder = folder
        self._services = services
        self._brokers = brokers
        self._hosts = hosts
        self.ended: list[Ended] = []
        self._logs = folder / "logs"
        self._overrides = overrides
        self._parts = ExitStack()
        self._marks: dict[str, int] = {}
        self.kafka: EmbeddedKafka
        self.network: Network
        self._supervisor: Supervisor

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            self._logs.mkdir()
            self.network = parts.enter_context(Network(brokers=self._brokers, hosts=self._hosts))
            self.kafka = parts.enter_context(
                EmbeddedKafka(brokers=self._brokers, doors=self.network.doors, settings=_PATIENT)
            )
            asyncio.run(ensure_topics(self.bootstrap, partitions=PARTITIONS))
            places = [(service, host) for host in range(self._hosts) for service in self._services]
            workers = [
                self._worker(service, host, port)
                for (service, host), port in zip(places, free_ports(len(places)), strict=True)
            ]
            self._supervisor = Supervisor(workers, logs=self._logs, settings=_PATIENT)
            parts.push(self._supervisor)  # left with the stage; entered, it would start everybody
            parts.callback(self._wake_all)
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._parts.close()

    def _worker(self, service: str, host: int, port: int) -> Worker:
        name = name_of(service, host)
        environment = {
            "CHAT_BOOTSTRAP": self.network.bootstrap(host),
            "CHAT_INSTANCE_ID": name,
            "CHAT_HTTP_HOST": LOOPBACK,
            "CHAT_HTTP_PORT": str(port),
            "CHAT_SESSION_TIMEOUT_MS": str(int(SESSION_S * 1000)),
            "CHAT_IO_LIMIT_S": str(IO_LIMIT_S),
            "CHAT_TICK_INTERVAL_MS": str(TICK_INTERVAL_MS),
            "CHAT_ARCHIVE_URL": f"sqlite:///{self.archive}",
            "CHAT_PUBLIC_URL": PUBLIC_URL,
            "CHAT_LINK_SECRET": LINK_SECRET,
            "CHAT_LEDGER_URL": f"sqlite:///{self.ledger(service)}",
            "CHAT_CRM_URL": f"sqlite:///{self._folder / 'crm.db'}",
            **self._overrides,
        }
        module = WITH_CRM_SERVER if service == CRM_SYNC else f"services.{service}.worker"
        return Worker(name, module, port, environment)

    def ledger(self, service: str) -> Path:
        """Return the file of the ledger that the workers of a service share."""
        return self._folder / f"{service}.db"

    # ------------------------------------------------------------ workers

    @property
    def bootstrap(self) -> str:
        """Return the addresses of the brokers as the driver and the judge use them."""
        return self.kafka.bootstrap

    @property
    def running(self) -> list[str]:
        """Return the workers that were started and not stopped."""
        return sorted(self._marks)

    def start(self, name: str, *, code: Path | None = None) -> None:
        """Start a worker, without waiting for it; with `code`, a folder of packages, it is of another version."""
        self._marks[name] = size_of(self._supervisor.log_file(name))
        self._supervisor.launch_worker(name, environment={} if code is None else {"PYTHONPATH": str(code)})

    def stop(self, name: str) -> int:
        """Stop a worker by SIGTERM, by SIGKILL when it does not end in time; return its exit code."""
        del self._marks[name]
        return self._supervisor.stop_worker(name)

    def kill(self, name: str) -> None:
        """End a worker by SIGKILL."""
        del self._marks[name]
        self._supervisor.kill_worker(name)

    def suspend(self, name: str) -> None:
        """Let a worker stand still (SIGSTOP); one that has ended is left alone."""
        self._signal(name, signal.SIGSTOP)

    def wake(self, name: str) -> None:
        """Let a suspended worker go on."""
        self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, number: signal.Signals) -> None:
        pid = self._supervisor.pids.get(name)
        if pid is not None:
            os.kill(pid, number)

    def _wake_all(self) -> None:
        for name in self.running:
            self.wake(name)

    def tend(self) -> None:
        """Start the workers again that have ended by themselves."""
        for name in set(self.running) - self._supervisor.pids.keys():
            reasons = [str(entry["reason"]) for entry in self.entries(name, "worker_failed")]
            self.ended.append(
                Ended(name, self.stop(name), reasons[-1] if reasons else "no reason in its log")
            )
            self.start(name)

    def await_ready(self, *names: str) -> None:
        """Return when these workers say that they are ready."""
        for name in names:
            self._supervisor.await_ready(name)

    # ------------------------------------------------------------ what the logs say

    def mark(self, name: str) -> int:
        """Return how long a worker's log is now."""
        return size_of(self._supervisor.log_file(name))

    def entries(self, name: str, event: str, *, mark_bytes: int | None = None) -> list[dict[str, Any]]:
        """Return what a worker has logged under this name since the mark, by default since it was started."""
        if mark_bytes is None:
            mark_bytes = self._marks.get(name, 0)
        return list(_entries(read_from(self._supervisor.log_file(name), mark_bytes=mark_bytes), event))

    def count(self, event: str, **values: object) -> int:
        """Return how often any worker has ever logged this, with these values."""
        return sum(
            all(entry[name] == value for name, value in values.items())
            for path in self._logs.iterdir()
            for entry in _entries(path.read_text("utf-8"), event)
        )

    def owned(self, service: str, *, without: Iterable[str] = ()) -> set[int]:
        """Return the partitions a service's workers own, as their last assignments say."""
        owned: set[int] = set()
        for name in set(self.running) - set(without):
            if name.startswith(service):
                owned.update(next(iter(self.entries(name, "assigned")[-1:]), {}).get("partitions", ()))
        return owned

    # ------------------------------------------------------------ brokers

    def await_in_sync(self) -> None:
        """Return when every replica of every partition, internal ones included, is in sync."""
        asyncio.run(self._await_in_sync())

    async def _await_in_sync(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not await self._in_sync():  # noqa: ASYNC110 - Kafka tells nobody
                await asyncio.sleep(POLL_INTERVAL_S)

    async def _in_sync(self) -> bool:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            await admin.start()
            topics = await admin.describe_topics()
        except KafkaError:
            return False
        finally:
            await admin.close()
        return all(
            len(part["isr"]) == self._brokers and part["leader"] >= 0
            for topic in topics
            for part in topic["partitions"]
        )

    def aborted(self) -> int:
        """Return how many transactions with records were aborted: a worker's every transaction writes its state."""
        log = self.kafka.data / "broker-1" / "log"
        return sum(
            path.stat().st_size // ABORTED_BYTES
            for topic in STATES.values()
            for path in log.glob(f"{topic}-*/*.txnindex")
        )


def _entries(text: str, event: str) -> Iterator[dict[str, Any]]:
    """Give the entries of a log with this name; other lines, and one that is being written, are passed over."""
    for line in text.splitlines():
        if f'"event": "{event}"' in line and line.endswith("}"):
            yield json.loads(line)
