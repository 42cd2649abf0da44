"""A workspace's SMTP server is changed while the notifier runs: mails go there from then on, each once."""

import json
from pathlib import Path

import pytest

from schemas import topics
from tests.notifier.sink import Sink
from tests.notifier.test_worker import SECRET, WORKSPACE, Worker, make_topics, publish, to_each, until

MAILS = 30


@pytest.mark.kafka
async def test_another_server_is_taken_and_a_bad_file_leaves_the_old_one(
    own_kafka: str, tmp_path: Path
) -> None:
    await make_topics(own_kafka)
    servers = tmp_path / "servers.json"

    def name(host: object, port: int) -> None:
        servers.write_text(json.dumps({WORKSPACE: {"host": host, "port": port}}))

    async with Sink().open() as first, Sink().open() as second:
        name("127.0.0.1", first.port)
        environment = {
            "CHAT_BOOTSTRAP": own_kafka,
            "CHAT_GROUP": "notifier-reloading-test",
            "CHAT_HTTP_PORT": "0",
            "CHAT_SMTP_PORT": "1",
            "CHAT_SMTP_SERVERS_FILE": str(servers),
            "CHAT_LEDGER_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
            "CHAT_LINK_SECRET": SECRET,
        }
        async with Worker().running(environment) as worker:
            await publish(
                own_kafka, topics.NOTICES, *to_each("r{number}@example.com", first=1_000, mails=MAILS)
            )
            await until(lambda: sent_to("r", first) >= 1 or "worker_failed" in worker.log)
            name("127.0.0.1", second.port)
            worker.reload()
            await until(lambda: "settings_reloaded" in worker.log)
            assert '"changed": ["CHAT_SMTP_SERVERS_FILE"]' in worker.log
            name(7, second.port)
            worker.reload()
            await until(lambda: "settings_not_reloaded" in worker.log)
            assert f"CHAT_SMTP_SERVERS_FILE can't be used: {WORKSPACE}.host: " in worker.log
            await publish(
                own_kafka, topics.NOTICES, *to_each("s{number}@example.com", first=2_000, mails=MAILS)
            )
            await until(lambda: sent_to("s", second) == MAILS or "worker_failed" in worker.log)
            await until(lambda: sent_to("r", first) + sent_to("r", second) >= MAILS)
    assert sent_to("s", first) == 0
    assert (sent_to("r", first) + sent_to("r", second), sent_to("s", second)) == (MAILS, MAILS)


def sent_to(name: str, sink: Sink) -> int:
    return sum(to.startswith(name) for (to,), _message in sink.mails)
