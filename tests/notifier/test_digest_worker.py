"""A notifier process that is killed while missed chats wait for their digest, on a real Kafka."""

import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from schemas import codec, topics
from services.local.topic_log import TopicLog
from tests.notifier.samples import unattended
from tests.notifier.sink import Sink
from tests.notifier.test_message import part
from tests.notifier.test_worker import SECRET, Worker, encoded, make_topics, publish, until

NUMBERS = range(5)


class Killed(Exception):
    """Leaves a worker without stopping it: it is killed."""


@pytest.mark.kafka
async def test_what_a_killed_worker_has_kept_is_in_one_digest_of_its_next_life(
    own_kafka: str, tmp_path: Path
) -> None:
    secret, ledger = tmp_path / "secret", tmp_path / "ledger.db"
    secret.write_text(SECRET)
    await make_topics(own_kafka)
    notices = [
        encoded(unattended(notice_id=f"n{number}", chat_id=f"c{number}", digest_s=6.0), number)
        for number in NUMBERS
    ]

    def kept() -> int:
        return count("digest_notices")

    def count(rows: str) -> int:
        with sqlite3.connect(ledger) as database:
            found: int = database.execute(f"SELECT count(*) FROM {rows}").fetchone()[0]
        database.close()
        return found

    def first_is_out() -> bool:
        return (
            bool(sink.mails) and kept() == len(NUMBERS) - 1 and count("effects WHERE state <> 'claimed'") == 1
        )

    async with Sink().open() as sink:
        environment = {
            "CHAT_BOOTSTRAP": own_kafka,
            "CHAT_GROUP": "notifier-digest-test",
            "CHAT_HTTP_PORT": "0",
            "CHAT_SMTP_PORT": str(sink.port),
            "CHAT_LEDGER_URL": f"sqlite:///{ledger}",
            "CHAT_LINK_SECRET_FILE": str(secret),
        }
        worker = Worker()
        with suppress(Killed):
            async with worker.running(environment):
                await publish(own_kafka, topics.NOTICES, *notices)
                await until(lambda: "worker_failed" in worker.log or first_is_out())
                raise Killed
        assert len(sink.mails) == 1, worker.log
        async with Worker().running(environment):
            await until(lambda: len(sink.mails) == 2 and not kept())
    async with TopicLog(own_kafka, (topics.DELIVERIES,)) as log:
        told = [codec.deliveries.decode(each.value) for each in await log.catch_up()]
    assert len(sink.mails) == 2
    assert [part(message, "plain").count("/t/") for message in sink.messages] == [1, 4]
    # The outcome of the first may stand there twice, as one: it was killed while it wrote it.
    ids = {each.id: each.data.notice_id for each in told}
    assert sorted(ids.values()) == [f"n{number}" for number in NUMBERS]
