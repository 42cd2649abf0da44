"""Runs the four workers as processes of their own, as they run in production, and notices when one dies.

One rule: a worker is told everything by environment variables and tells us everything by `/readyz`, its exit code and
its log; nothing is shared.
"""

import http.client
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from services.local import processes
from services.local.errors import LocalError
from services.local.files import last_words, tail
from services.local.ports import LOOPBACK
from services.local.progress import Progress, silent
from services.local.settings import LocalSettings

_POLL_INTERVAL_S = 0.1
_PROBE_LIMIT_S = 2.0
_STAGE = "starting the workers"


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker: a unique name, the module to run, the port of its health pages and its environment variables."""

    name: str
    module: str
    http_port: int
    environment: Mapping[str, str]


class Supervisor:
    """The processes of some workers, as a context manager: entered, all are ready; left, none is there.

    Each writes to `<logs>/<name>.log`. Raises LocalError when a worker dies or is not ready in time.
    """

    def __init__(
        self, workers: Sequence[Worker], *, logs: Path, settings: LocalSettings, progress: Progress = silent
    ) -> None:
        self._workers = {worker.name: worker for worker in workers}
        self._logs = logs
        self._settings = settings
        self._progress = progress
        self._running: dict[str, processes.Process] = {}

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            for name in self._workers:
                self.launch_worker(name)
            self._progress(_STAGE, done=0, total=len(self._workers))
            deadline_s = time.monotonic() + self._settings.worker_start_limit_s
            for done, name in enumerate(self._workers, start=1):
                self._await_ready(name, deadline_s=deadline_s)
                self._progress(_STAGE, done=done, total=len(self._workers))
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def pids(self) -> dict[str, int]:
        """Return the process ids of the running workers by name."""
        return {name: process.pid for name, process in self._running.items() if process.poll() is None}

    def log_file(self, name: str) -> Path:
        """Return the log of a worker."""
        return self._logs / f"{name}.log"

    def check(self) -> None:
        """Raise LocalError, with the last lines of its log, if a worker has ended that nobody stopped."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise LocalError(self._death(name, exit_code=process.returncode))

    def launch_worker(self, name: str, *, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        """Start one worker, or start it again, without waiting for it; `environment` is added to its own this time."""
        assert name not in self.pids, "the worker is running"
        worker = self._workers[name]
        self._running[name] = processes.spawn(
            [sys.executable, "-m", worker.module],
            environment={**_surroundings(), **worker.environment, **environment},
            # Not where the user stands: a folder named `services` there would be imported instead of ours.
            folder=self._logs,
            output=self.log_file(name),
        )

    def await_ready(self, name: str) -> None:
        """Return when the worker says that it is ready; raise LocalError when it dies or takes too long."""
        self._await_ready(name, deadline_s=time.monotonic() + self._settings.worker_start_limit_s)

    def stop_worker(self, name: str) -> int:
        """Stop one worker with SIGTERM, after the grace time with SIGKILL; return its exit code."""
        process = self._running.pop(name)
        processes.stop([process], grace_s=self._settings.stop_grace_s)
        return process.returncode

    def kill_worker(self, name: str) -> None:
        """Stop one worker with SIGKILL."""
        processes.kill([self._running.pop(name)])

    def _stop(self) -> None:
        processes.stop(self._running.values(), grace_s=self._settings.stop_grace_s)

    def _await_ready(self, name: str, *, deadline_s: float) -> None:
        port = self._workers[name].http_port
        while not _answers_ready(port):
            self.check()
            if time.monotonic() > deadline_s:
                raise LocalError(
                    f"{name} was not ready within {self._settings.worker_start_limit_s:g} s: raise "
                    f"CHAT_LOCAL_WORKER_START_LIMIT_S on a slow machine, or read {self.log_file(name)}."
                )
            time.sleep(_POLL_INTERVAL_S)

    def _death(self, name: str, *, exit_code: int) -> str:
        log = self.log_file(name)
        return f"{name} ended by itself (exit code {exit_code}), read {log}; its last words:\n{last_words(tail(log))}"


def _answers_ready(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_PROBE_LIMIT_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _surroundings() -> dict[str, str]:
    """Return the environment without settings of other workers: a CHAT_GROUP of the shell would put all four into one group."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CHAT_")}
