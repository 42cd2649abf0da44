"""A whole installation that a Prometheus watches, for those who break it: each alert is awaited, and its end once that is mended.

The one rule: what is done here is what happens to services: processes stop or stand still, servers and databases do not answer,
records come that nobody can read.
"""

import asyncio
import math
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from aiokafka import AIOKafkaProducer

from services.local import sample_day
from services.local.arrivals import built_in_curve
from services.local.demo import PACE
from services.local.installation import CRM_SYNC, NOTIFIER, ROUTER, TRANSCRIPT, Installation
from services.local.mailbox import Mailbox
from services.local.play import play
from services.local.ports import free_ports
from tests.notifier.sink import Sink
from tests.ops.prometheus import POLL_INTERVAL_S, Prometheus

WORKERS: Mapping[str, str] = MappingProxyType(
    {"router": ROUTER, "notifier": NOTIFIER, "transcript": TRANSCRIPT, "crm_sync": CRM_SYNC}
)
"""The installation's names by the label `worker`."""
PARTITIONS = 4
LIMIT_S = 180.0
"""An alert fires within a few seconds, on a machine that is busy with other things much later."""
PARKED_MAX = 50
BROKER = 1
SETTINGS = {
    "CHAT_TICK_INTERVAL_MS": "200",
    "CHAT_CIRCUIT_OPEN_MS": "500",
    "CHAT_PARKED_RECORDS_MAX": str(PARKED_MAX),
    "CHAT_IO_LIMIT_S": "3",
    "CHAT_SERVICE_LEVEL_S": "1",
    "CHAT_DEAD_LETTERS_PER_MINUTE_MAX": "100000",
}


@dataclass(frozen=True, slots=True)
class Provoked:
    """What was done, after how many seconds the alert fired, and after how many it ended once that was mended; None if nobody waited."""

    how: str
    firing_s: float
    resolved_s: float | None = None


class Watched:
    """The installation, its mail server and Prometheus, as a context manager. `provoked` is what came of it, by alert."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts = ExitStack()
        self._mail = ExitStack()
        (self._mail_port,) = free_ports(1)
        self._began_s = time.monotonic()
        self.provoked: dict[str, Provoked] = {}
        self.installation: Installation
        self.prometheus: Prometheus

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            token_file = self._folder / "token"
            token_file.write_text(secrets.token_urlsafe(32), "ascii")
            settings = {
                **SETTINGS,
                "CHAT_SMTP_PORT": str(self._mail_port),
                "CHAT_METRICS_TOKEN_FILE": str(token_file),
            }
            self.installation = parts.enter_context(
                Installation(self._folder / "service", partitions=PARTITIONS, overrides=settings)
            )
            self.start_mail()
            parts.push(self._mail)
            (self._folder / "prometheus").mkdir()
            ports = {name: self.port(name) for name in WORKERS}
            self.prometheus = parts.enter_context(
                Prometheus(self._folder / "prometheus", ports, token_file=token_file)
            )
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._parts.close()

    # ------------------------------------------------------------ alerts

    @contextmanager
    def alerted(self, how: str, *alerts: str) -> Iterator[None]:
        """What is done within lets these alerts fire, which were silent before."""
        self.prometheus.until(
            lambda: not self.prometheus.firing() & set(alerts), f"silence of {alerts}", limit_s=LIMIT_S
        )
        began_s = time.monotonic()
        yield
        left = set(alerts)
        while left:
            for name in left & self.prometheus.firing():
                self.provoked[name] = Provoked(how, time.monotonic() - began_s)
                left.discard(name)
            assert time.monotonic() - began_s < LIMIT_S, f"silent: {left}"
            time.sleep(POLL_INTERVAL_S)

    def resolved(self, *alerts: str) -> None:
        """Return when these alerts are over."""
        for name in alerts:
            took_s = self.prometheus.until(
                lambda: name not in self.prometheus.firing(),  # noqa: B023 - called before the next
                f"{name} is over",
                limit_s=LIMIT_S,
            )
            self.provoked[name] = replace(self.provoked[name], resolved_s=took_s)

    def seen(self, query: str) -> None:
        """Return when a query gives anything."""
        self.prometheus.until(lambda: bool(self.prometheus.query(query)), query, limit_s=LIMIT_S)

    def shows(self, query: str) -> bool:
        """Whether a panel with this query would show anything of the time since Prometheus began."""
        query = query.replace("$__rate_interval", "10s")
        for variable in ("$namespace", "$worker", "$workspace", "$department"):
            query = query.replace(variable, ".*")
        return any(map(math.isfinite, self.prometheus.range(query, seconds=time.monotonic() - self._began_s)))

    def quiet(self, *but: str) -> None:
        """Return when no alert fires, but for these."""
        self.prometheus.until(
            lambda: not self.prometheus.firing() - set(but), "nothing fires", limit_s=LIMIT_S
        )

    def watch(self, *workers: str) -> None:
        """Let Prometheus ask these workers only."""
        self.prometheus.scrape({name: self.port(name) for name in workers})
        self.prometheus.reload()

    # ------------------------------------------------------------ what is done to it

    def port(self, worker: str) -> int:
        """The port of a worker's pages."""
        return self.installation.http_ports[WORKERS[worker]]

    def database(self, name: str) -> Path:
        """The file of a database of the installation."""
        return self.installation.data / name

    def kill(self, worker: str) -> None:
        """End a worker by SIGKILL."""
        self.installation.supervisor.kill_worker(WORKERS[worker])

    def start(self, worker: str, *, module: str | None = None) -> None:
        """Start a worker again, or another program in its place, and wait until it is ready."""
        name, supervisor = WORKERS[worker], self.installation.supervisor
        known = supervisor._workers
        known[name] = replace(known[name], module=module or f"services.{worker}.worker")
        supervisor.launch_worker(name)
        supervisor.await_ready(name)

    def tend(self) -> None:
        """Start the workers again that have ended by themselves, as an orchestrator would."""
        supervisor = self.installation.supervisor
        for name in WORKERS.values():
            if name not in supervisor.pids:
                supervisor.launch_worker(name)
        for name in WORKERS.values():
            supervisor.await_ready(name)

    @contextmanager
    def slowed(self, worker: str, *, runs_s: float, stands_s: float) -> Iterator[None]:
        """Let a worker have a part of the time only."""
        pid = self.installation.supervisor.pids[WORKERS[worker]]

        def once() -> None:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(stands_s)
            os.kill(pid, signal.SIGCONT)

        with repeated(once, every_s=runs_s):
            yield

    @contextmanager
    def kafka_standing_still(self) -> Iterator[None]:
        """Let the broker do nothing at all."""
        assert self.installation.kafka is not None
        pid = self.installation.kafka.pids[BROKER]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def stop_mail(self) -> None:
        """Nobody listens at the mail server's address."""
        self._mail.close()

    def start_mail(self) -> None:
        """The mail server is back."""
        self._mail.enter_context(Mailbox(self._folder / "mails", port=self._mail_port))

    @contextmanager
    def sink(self, sink: Sink) -> Iterator[None]:
        """Let this one take the mails, as it is told to; the mail server must be stopped."""
        sink.port = self._mail_port
        started, ended = threading.Event(), threading.Event()

        async def serve() -> None:
            async with sink.open():
                started.set()
                await asyncio.to_thread(ended.wait)

        thread = threading.Thread(target=lambda: asyncio.run(serve()), name="sink")
        thread.start()
        try:
            assert started.wait(LIMIT_S)
            yield
        finally:
            ended.set()
            thread.join()

    def publish(
        self, topic: str, records: Iterable[tuple[str, bytes]], *, acks: Literal[1, "all"] = "all"
    ) -> None:
        """Publish records, each with its workspace."""

        async def publish() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self.installation.bootstrap, acks=acks) as producer:
                sent = [await producer.send(topic, value, key=name.encode()) for name, value in records]
                await asyncio.gather(*sent)

        asyncio.run(publish())

    def play(self, *, chats: int, seed: int, seconds: float) -> None:
        """Act a sample day out, without its poison."""
        day = sample_day.make(
            chats=chats, seed=seed, curve=built_in_curve(), day_ms=int(seconds * 1000), pace=PACE
        )
        asyncio.run(play(replace(day, poisoned=()), bootstrap=self.installation.bootstrap))


@contextmanager
def repeated(do: Callable[[], None], *, every_s: float) -> Iterator[None]:
    """Do something again and again meanwhile; what it raises is raised in the end."""
    ended = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            while not ended.wait(every_s):
                do()
        except BaseException as error:  # noqa: BLE001 - raised below, where the test sees it
            failures.append(error)

    thread = threading.Thread(target=run, name="repeated")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if failures:
            raise failures[0]
