"""Workers are started, watched and stopped as real processes; none outlives its supervisor."""

import json
import signal
from pathlib import Path

import pytest

from services.local.errors import LocalError
from services.local.ports import free_ports
from services.local.settings import LocalSettings
from services.local.supervisor import Supervisor, Worker
from tests.local.programs import eventually, is_running, is_served, python

SETTINGS = LocalSettings(worker_start_limit_s=10.0, stop_grace_s=1.0)

RUN_A_WORKER = """
import sys, time
from pathlib import Path
from services.local.settings import LocalSettings
from services.local.supervisor import Supervisor
from tests.local.test_supervisor import small
with Supervisor([small("one")], logs=Path(sys.argv[1]), settings=LocalSettings()) as workers:
    print(workers.pids["one"], flush=True)
    time.sleep(600)
"""


def small(name: str, *, word: str = "hello", ready: str = "yes", **more: str) -> Worker:
    port = free_ports(1)[0]
    environment = {"CHAT_HTTP_PORT": str(port), "SMALL_WORD": word, "SMALL_READY": ready, **more}
    return Worker(name, "tests.local.small_worker", port, {**environment, "PYTHONPATH": str(Path.cwd())})


def test_workers_are_ready_when_entered_and_gone_when_left(tmp_path: Path) -> None:
    workers = [small("one", word="first"), small("two", word="second")]
    with Supervisor(workers, logs=tmp_path, settings=SETTINGS) as supervisor:
        supervisor.check()
        pids = supervisor.pids
        assert set(pids) == {"one", "two"}
        assert all(is_served(worker.http_port) for worker in workers)
    assert not any(is_running(pid) for pid in pids.values())
    assert supervisor.log_file("two").read_text() == "worker says second\nleaving in order\n"


def test_a_worker_that_dies_at_its_start_is_explained_by_its_log(tmp_path: Path) -> None:
    dying = Supervisor(
        [small("fine"), small("dying", word="my last word", SMALL_EXIT="3")], logs=tmp_path, settings=SETTINGS
    )
    with (
        pytest.raises(LocalError, match=r"(?s)^dying ended by itself \(exit code 3\), read .*my last word$"),
        dying,
    ):
        pass
    assert not dying.pids


def test_a_worker_that_dies_later_is_noticed(tmp_path: Path) -> None:
    with Supervisor([small("one")], logs=tmp_path, settings=SETTINGS) as supervisor:
        with python(f"import os; os.kill({supervisor.pids['one']}, {signal.SIGKILL:d})"):
            eventually(lambda: not supervisor.pids, what="the worker is dead")
        with pytest.raises(LocalError, match="exit code -9"):
            supervisor.check()


def test_a_worker_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    settings = LocalSettings(worker_start_limit_s=1.0, stop_grace_s=1.0)
    slow = Supervisor([small("slow", ready="no")], logs=tmp_path, settings=settings)
    with pytest.raises(LocalError, match=r"^slow was not ready within 1 s"), slow:
        pass
    assert not slow.pids


def test_a_worker_that_ignores_sigterm_is_killed_after_the_grace_time(tmp_path: Path) -> None:
    with Supervisor(
        [small("stubborn", SMALL_STUBBORN="yes")], logs=tmp_path, settings=SETTINGS
    ) as supervisor:
        assert supervisor.stop_worker("stubborn") == -signal.SIGKILL
        supervisor.check()
        supervisor.launch_worker("stubborn")
        supervisor.await_ready("stubborn")
        supervisor.kill_worker("stubborn")
        assert not supervisor.pids


def test_workers_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    with python(RUN_A_WORKER, str(tmp_path)) as program:
        assert program.stdout is not None
        pid = json.loads(program.stdout.readline())
        assert is_running(pid)
        program.kill()
        program.wait()
        eventually(lambda: not is_running(pid), what="the worker is gone")
