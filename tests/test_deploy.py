"""The compose file's promises that its schema does not know: loopback only, no root, a probe for every process."""

from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
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
    assert "healthcheck" in service or name == "topics"


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
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert "USER 10001:10001" in lines
    assert 'CMD ["chat-router"]' in lines
    assert sum(line.startswith("FROM ") for line in lines) == 2
    assert any("--require-hashes -r requirements/runtime.txt" in line for line in lines)
