"""The image, built by its Dockerfile and run as a cluster would run it: no root, nothing to write on, stopped by SIGTERM.

The one rule: a container gets what deploy/ gives it and nothing more.
"""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.local.kafka import EmbeddedKafka
from services.local.ports import LOOPBACK, free_ports
from services.runtime.connection import SECRETS_FOLDER
from tests.ops.containers import (
    BUILD_LIMIT_S,
    DOCKERFILE,
    IMAGE,
    LIMIT_S,
    ROOT,
    STOP_GRACE_S,
    Engine,
    engine,
    prepare_bases,
)

pytestmark = [pytest.mark.kafka, pytest.mark.ops, pytest.mark.timeout(2 * BUILD_LIMIT_S)]

USER = 10001
COMMANDS = ("chat-router", "chat-notifier", "chat-transcript", "chat-crm-sync")
SETTINGS_FOLDER = "/etc/chat-routing"
SETTINGS = {
    "CHAT_SETTINGS_FOLDER": SETTINGS_FOLDER,
    "CHAT_PUBLIC_URL": "https://chats.example.com",
    "CHAT_ARCHIVE_URL": "sqlite:////data/archive.db",
}
SECRETS = {name: secrets.token_urlsafe(32) for name in ("chat_link_secret", "chat_api_secret")}
POLL_S = 0.2


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine(tmp_path_factory.mktemp("containers")) as found:
        prepare_bases(found)
        found.build(IMAGE, DOCKERFILE, ROOT)
        yield found


@pytest.fixture(scope="module")
def kafka(podman: Engine) -> Iterator[str]:
    """A broker with the topics, which the image made."""
    with EmbeddedKafka() as broker:
        podman.once("chat-routing", "topics", "--bootstrap", broker.bootstrap, "--partitions", "3")
        yield broker.bootstrap


def test_it_says_whom_it_runs_as_how_it_is_asked_and_how_it_ends(podman: Engine) -> None:
    image = podman.inspect(IMAGE)
    config = image["Config"]
    assert config["User"] == f"{USER}:{USER}"
    assert config["Cmd"] == ["chat-router"]
    assert "Entrypoint" not in config
    assert config["StopSignal"] == "SIGTERM"
    assert image["Healthcheck"]["Test"][:2] == ["CMD", "python"]


def test_its_core_is_compiled(podman: Engine) -> None:
    said = podman.once("python", "-c", "import services.router.core.decide as core; print(core.__file__)")
    assert said.strip().endswith(".so")


def test_nothing_in_it_builds_or_fetches_programs_and_no_program_is_its_users(podman: Engine) -> None:
    assert podman.once("sh", "-c", "command -v gcc cc make git pip pip3 curl wget; true") == ""
    found = podman.once(
        *("find", "/opt", "/usr", "-type", "f", "(", "-user", str(USER), "-o", "-perm", "-0002", ")")
    )
    assert found == ""


@contextmanager
def started(podman: Engine, command: str, bootstrap: str, folder: Path) -> Iterator[int]:
    """A worker that is ready, in a container of its command's name: the port of its pages."""
    (port,) = free_ports(1)
    given = {
        "CHAT_BOOTSTRAP": bootstrap,
        "CHAT_HTTP_HOST": LOOPBACK,  # it shares this machine's network
        "CHAT_HTTP_PORT": str(port),
        "CHAT_INSTANCE_ID": f"{command}-1",
        **SETTINGS,
    }
    data, hidden, changing = folder / "data", folder / "secrets", folder / "settings"
    for path in (data, hidden, changing):
        path.mkdir()
    data.chmod(0o777)
    for name, value in SECRETS.items():
        (hidden / name).write_text(value, encoding="ascii")
    mounts = {data: "/data:rw", hidden: f"{SECRETS_FOLDER}:ro", changing: f"{SETTINGS_FOLDER}:ro"}
    with podman.worker(command, command, environment=given, mounts=mounts):
        await_ready(podman, command, port)
        yield port


def await_ready(podman: Engine, name: str, port: int) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while True:
        try:
            if httpx.get(f"http://{LOOPBACK}:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        state = podman.inspect(name)["State"]
        assert state["Running"], podman("logs", name).stderr
        assert time.monotonic() < deadline_s, podman("logs", name).stderr
        time.sleep(POLL_S)


def await_told(podman: Engine, name: str, event: str) -> Mapping[str, Any]:
    """What the log of a worker says, once it does."""
    deadline_s = time.monotonic() + LIMIT_S
    while True:
        logs = podman("logs", name)
        for line in (logs.stdout + logs.stderr).splitlines():
            if f'"{event}"' in line:
                return dict(json.loads(line))
        assert time.monotonic() < deadline_s, logs
        time.sleep(POLL_S)


def status_of(pid: int) -> Mapping[str, str]:
    """What the kernel says about a process."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_worker_gets_ready_without_rights_and_ends_when_told(
    podman: Engine, kafka: str, command: str, tmp_path: Path
) -> None:
    with started(podman, command, kafka, tmp_path) as port:
        assert httpx.get(f"http://{LOOPBACK}:{port}/healthz").text == "alive"
        podman("healthcheck", "run", command)
        status = status_of(podman.inspect(command)["State"]["Pid"])
        assert set(status["Uid"].split()) == {str(USER)}
        assert set(status["Gid"].split()) == {str(USER)}
        assert int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        written = podman("exec", command, "touch", "/opt/chat-routing/written", check=False)
        assert "Read-only file system" in written.stderr

        podman("stop", "--time", str(STOP_GRACE_S), command)
        assert podman.inspect(command)["State"]["ExitCode"] == 0
        logs = podman("logs", command)
        told = logs.stdout + logs.stderr
        assert "Traceback" not in told
        assert not [name for name, value in SECRETS.items() if value in told]


@pytest.mark.parametrize("command", COMMANDS)
def test_its_first_process_takes_new_settings_when_it_is_told_from_within(
    podman: Engine, kafka: str, command: str, tmp_path: Path
) -> None:
    with started(podman, command, kafka, tmp_path):
        (tmp_path / "settings" / "chat_log_level").write_text("WARNING", encoding="ascii")
        podman("exec", command, "sh", "-c", "kill -HUP 1")
        assert await_told(podman, command, "settings_reloaded")["changed"] == ["CHAT_LOG_LEVEL"]


def test_a_frontend_has_a_chat_with_it(podman: Engine, kafka: str, tmp_path: Path) -> None:
    with started(podman, "chat-router", kafka, tmp_path):
        said = subprocess.run(
            [sys.executable, ROOT / "docs" / "examples" / "frontend.py", kafka],
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
    assert said.returncode == 0, said.stderr
    assert "chat.closed.v1" in said.stdout
