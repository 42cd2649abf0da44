"""The compose file's promises that its schema does not know: loopback only, no root, a probe for every process."""

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
WORKERS = {
    "router": "chat-router",
    "notifier": "chat-notifier",
    "transcript": "chat-transcript",
    "crm_sync": "chat-crm-sync",
}


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_bound_to_loopback_and_nothing_is_unbounded(name: str) -> None:
    service = SERVICES[name]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    if name in WORKERS:  # the image's
        assert "healthcheck" not in service
    else:
        assert "test" in service["healthcheck"] or name == "topics"


@pytest.mark.parametrize(("name", "command"), WORKERS.items())
def test_each_worker_is_one_command_of_the_one_image(name: str, command: str) -> None:
    service = SERVICES[name]
    assert service["image"] == SERVICES["topics"]["image"]
    assert service["command"] == [command]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["depends_on"]["topics"]["condition"] == "service_completed_successfully"
    port = service["environment"]["CHAT_HTTP_PORT"]
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]


@pytest.mark.parametrize("name", WORKERS)
def test_each_worker_reads_the_settings_folder_and_writes_nothing_to_it(name: str) -> None:
    within = SERVICES[name]["environment"]["CHAT_SETTINGS_FOLDER"]
    (source,) = [
        mount.split(":")[0] for mount in SERVICES[name]["volumes"] if mount.endswith(f":{within}:ro")
    ]
    assert (DEPLOY / source).is_dir(), "docker would make it, as root"


def test_prometheus_scrapes_every_worker() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    targets = {
        target
        for job in config["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    }
    assert targets == {f"{name}:{SERVICES[name]['environment']['CHAT_HTTP_PORT']}" for name in WORKERS}


def test_secrets_stand_in_files_only() -> None:
    assert all(secret.keys() == {"file"} for secret in COMPOSE["secrets"].values())
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name or name.endswith("_FILE"), name
            assert "@" not in str(value) or "VOTERS" in name, name


def test_the_image_runs_as_a_numbered_user_by_an_exec_command() -> None:
    assert "USER 10001:10001" in DOCKERFILE
    assert 'CMD ["chat-router"]' in DOCKERFILE
    assert "STOPSIGNAL SIGTERM" in DOCKERFILE
    assert sum(line.startswith("FROM ") for line in DOCKERFILE) == 2
    installed = [line for line in DOCKERFILE if "install" in line and " -r " in line]
    assert installed
    assert all("--require-hashes" in line for line in installed)


def test_the_builder_is_sent_all_it_copies_and_nothing_secret() -> None:
    copied = [
        source
        for line in DOCKERFILE
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert {"services", "schemas", "pyproject.toml"} <= set(copied)
    for source in copied:
        files = (ROOT / source).rglob("*.py") if (ROOT / source).is_dir() else [ROOT / source]
        left_out = [path for path in files if not is_sent(path.relative_to(ROOT))]
        assert not left_out, source
    for kept in (".git/config", "deploy/secrets/chat_api_secret", ".venv/bin/python", "tests/plain.py"):
        assert not is_sent(Path(kept)), kept


def is_sent(path: Path) -> bool:
    """What .dockerignore says: the last line that fits decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!")
        if fnmatch(str(path), pattern) or fnmatch(str(path), pattern.removeprefix("**/")):
            sent = line.startswith("!")
    return sent
