"""How many mails a second the notifier sends, and how many when some recipients are slow. `python -m bench.mails` measures this alone.

One rule: the whole worker is measured, from Kafka over its ledger and SMTP back to Kafka, at the sink: what comes between a tenth and
nearly all of the mails, so that starting up counts for nothing.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import get_args

from aiokafka import AIOKafkaProducer
from rich.console import Console

from bench import smtp_sink
from bench.contender import cpu_s
from bench.rows import Row, show
from schemas import codec
from schemas.topics import NOTICES, TRANSCRIPTS
from schemas.types import Language
from services.local import sample_mails
from services.local.kafka import EmbeddedKafka
from services.local.ports import LOOPBACK, free_ports
from services.local.settings import LocalSettings
from services.local.supervisor import Supervisor, Worker
from services.local.topics import ensure_topics
from services.notifier.core import Content

MAILS = 2_000
PER_SECOND_MIN = 200.0
SLOW_RECIPIENTS, MAILS_TO_SLOW = 20, 100
SLOW_S = 3.0
"""How late the server answers to the name of a slow recipient."""
WITH_SLOW_MIN = 0.5
BEGIN, END = 0.1, 0.98
WORKSPACES = 24
_LIMIT_S = 60.0
_POLL_INTERVAL_S = 0.005
_NAME = "notifier"


def measure(report: Callable[[str], None]) -> list[Row]:
    """Return the rates and what a mail costs. `report` is told what is going on."""
    report("starting Kafka and the notifier")
    with (
        EmbeddedKafka() as kafka,
        smtp_sink.running(slow_s=SLOW_S) as (port, counts),
        tempfile.TemporaryDirectory() as folder,
    ):
        asyncio.run(ensure_topics(kafka.bootstrap))
        with _notifier(kafka.bootstrap, port, Path(folder)) as pid:
            report(f"sending {MAILS:,} mails")
            before_s = cpu_s(pid)
            alone = _round(kafka.bootstrap, counts, "alone", slow=0)
            each_ms = 1000 * (cpu_s(pid) - before_s) / MAILS
            report(f"sending {MAILS:,} mails, and {MAILS_TO_SLOW} more to {SLOW_RECIPIENTS} slow recipients")
            beside = _round(kafka.bootstrap, counts, "beside", slow=MAILS_TO_SLOW)
    return [
        Row("mails per second to a local sink", alone, "mails/s", PER_SECOND_MIN, at_least=True),
        Row("processor time of the notifier", each_ms, "ms/mail"),
        Row(
            f"{SLOW_RECIPIENTS} slow recipients: rate of the rest / rate without them",
            beside / alone,
            "×",
            WITH_SLOW_MIN,
            at_least=True,
        ),
    ]


@contextmanager
def _notifier(bootstrap: str, smtp_port: int, folder: Path) -> Iterator[int]:
    """Give the process id of a notifier that is ready. It has the default settings."""
    (port,) = free_ports(1)
    environment = {
        "CHAT_BOOTSTRAP": bootstrap,
        "CHAT_HTTP_HOST": LOOPBACK,
        "CHAT_HTTP_PORT": str(port),
        "CHAT_SMTP_HOST": LOOPBACK,
        "CHAT_SMTP_PORT": str(smtp_port),
        "CHAT_LEDGER_URL": f"sqlite:///{folder / 'ledger.db'}",
        "CHAT_LINK_SECRET": "of this bench only: its links lead nowhere",
        "CHAT_LOG_LEVEL": "WARNING",
    }
    worker = Worker(_NAME, "services.notifier.worker", port, environment)
    with Supervisor([worker], logs=folder, settings=LocalSettings()) as supervisor:
        yield supervisor.pids[_NAME]


def _round(bootstrap: str, counts: smtp_sink.Counts, name: str, *, slow: int) -> float:
    """Publish the mails of a round; return how many of those to quick recipients came in a second."""
    before = counts.quick
    records = list(_records(name, slow=slow))
    asyncio.run(_publish(bootstrap, records))
    began_s = first_s = time.monotonic()
    first = 0
    while (came := counts.quick - before) < END * MAILS:
        now_s = time.monotonic()
        if now_s - began_s > _LIMIT_S:
            raise TimeoutError(f"{came} of {MAILS} mails came within {_LIMIT_S:g} s")
        if came < BEGIN * MAILS:
            first, first_s = came, now_s
        time.sleep(_POLL_INTERVAL_S)
    return (came - first) / (time.monotonic() - first_s)


def _records(name: str, *, slow: int) -> Iterator[tuple[str, str, bytes]]:
    """Give topic, workspace and value of each record: notices and transcripts in turn, in both languages, one recipient each."""
    for number in range(MAILS):
        yield _record(f"{name}-{number}", number, f"agent-{number % 100}@example.com")
        if slow and number % (MAILS // slow) == 0:
            address = f"slow-{number * slow // MAILS % SLOW_RECIPIENTS}@example.com"
            yield _record(f"{name}-slow-{number}", number, address)


def _record(name: str, number: int, address: str) -> tuple[str, str, bytes]:
    language = get_args(Language)[number // 2 % 2]
    workspace_id = f"mails-{number % WORKSPACES}"
    data: Content
    if number % 2:
        plain = sample_mails.transcript(language)
        data = replace(plain, chat_id=name, email=replace(plain.email, transcript=(address,)))
        topic = TRANSCRIPTS
    else:
        data = replace(
            sample_mails.unattended(language),
            notice_id=name,
            chat_id=name,
            letter=sample_mails.letter(language, address),
        )
        topic = NOTICES
    at_ms = int(time.time() * 1000)
    value = codec.encode(data, event_id=name, source="/bench", at_ms=at_ms, workspace_id=workspace_id)
    return topic, workspace_id, value


async def _publish(bootstrap: str, records: list[tuple[str, str, bytes]]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5) as producer:
        sent = [
            await producer.send(topic, value, key=workspace_id.encode())
            for topic, workspace_id, value in records
        ]
        await asyncio.gather(*sent)


if __name__ == "__main__":
    show(measure(print), Console())
