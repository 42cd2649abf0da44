"""The README's example, run as it stands against a real Kafka and a real router."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from services.local.docs import EXAMPLE
from services.local.kafka import EmbeddedKafka
from services.local.ports import LOOPBACK, free_ports
from services.local.settings import LocalSettings
from services.local.supervisor import Supervisor, Worker
from services.local.topics import ensure_topics

LIMIT_S = 60.0


@pytest.mark.kafka
def test_the_example_frontend_has_its_chat(tmp_path: Path) -> None:
    # A broker of its own: the example uses the topics by their real names.
    with EmbeddedKafka() as broker:
        asyncio.run(ensure_topics(broker.bootstrap))
        (port,) = free_ports(1)
        environment = {
            "CHAT_BOOTSTRAP": broker.bootstrap,
            "CHAT_HTTP_HOST": LOOPBACK,
            "CHAT_HTTP_PORT": str(port),
        }
        workers = [Worker("router", "services.router.worker", port, environment)]
        with Supervisor(workers, logs=tmp_path, settings=LocalSettings()):
            done = subprocess.run(
                [sys.executable, EXAMPLE, broker.bootstrap],
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
    assert done.returncode == 0, done.stderr
    told = [line.split(" ", 1) for line in done.stdout.splitlines()]
    kinds = [kind for kind, _ in told]
    assert kinds.index("chat.offered.v1") < kinds.index("chat.assigned.v1") < kinds.index("chat.closed.v1")
    closed = json.loads(told[-1][1])
    assert kinds[-1] == "chat.closed.v1"
    assert closed["outcome"] == "handled"
    assert [agent["name"] for agent in closed["agents"]] == ["花子"]
