"""crm_sync killed while it files 500 conversations in a real Tryton, from a real Kafka: each is in the feed once.

The one rule: Tryton files whatever it is sent, so here too only asking before anything is sent again keeps a double out.
"""

import os
import random
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import orjson
import pytest

from schemas import topics
from services.crm_sync.connectors.records import PersonKind
from services.crm_sync.connectors.tryton.connector import NAME
from services.local.topics import ensure_topics
from tests.crm_live.tryton_world import CHAT, PASSWORD, Installed, TrytonWorld
from tests.crm_sync.connector_world import ACME
from tests.crm_sync.material import settings, transcript
from tests.faults.effect_workers import PARTITIONS, EffectWorker, encoded, outcomes, publish, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]

CHATS = 500
PEOPLE = 50
KILLS = 3
KNOWN: Mapping[PersonKind, range] = {"lead": range(10), "deal": range(10, 20), "contact": range(20, 30)}
"""Of the visitors, by their numbers, those whom Tryton knows; the others are new, and each gets a lead."""
LINK = re.compile(r"https://chat\.example\.com/t/(c\d+)$", re.MULTILINE)


@pytest.fixture
async def bootstrap(own_kafka: str) -> str:
    await ensure_topics(own_kafka, partitions=PARTITIONS, replicas=1)
    return own_kafka


@contextmanager
def crm_sync(bootstrap: str, folder: Path, tryton: Installed) -> Iterator[EffectWorker]:
    accounts = folder / "accounts.json"
    account = {"connector": NAME, "url": tryton.url, "database": ACME, "user": CHAT, "password": PASSWORD}
    accounts.write_bytes(orjson.dumps({ACME: account}))
    environment = {
        "CHAT_BOOTSTRAP": bootstrap,
        "CHAT_INSTANCE_ID": "crm-1",
        "CHAT_HTTP_PORT": "0",
        "CHAT_LEDGER_URL": f"sqlite:///{folder / 'ledger.db'}",
        "CHAT_CRM_URL": f"sqlite:///{folder / 'crm.db'}",
        "CHAT_CRM_ACCOUNTS_FILE": str(accounts),
        "CHAT_CIRCUIT_OPEN_MS": "300",
    }
    with EffectWorker("services.crm_sync.worker", environment, folder=folder, name="crm_sync") as worker:
        yield worker


def filed(tryton: Installed) -> list[str]:
    """The chats of all notes, as they stand in Tryton's database."""
    with closing(sqlite3.connect(tryton.files[ACME], timeout=30)) as database:
        rows = database.execute("SELECT message FROM ir_note").fetchall()
    return [found.group(1) for (message,) in rows for found in [LINK.search(message)] if found]


async def test_each_chat_once_in_the_feed(live: TrytonWorld, bootstrap: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("FAULTS_SEED", "4711"))
    chance = random.Random(f"{seed} tryton")
    for kind, numbers in KNOWN.items():
        for number in numbers:
            await live.world.office.add(kind, f"v{number}", f"v{number}@example.com")
    configured = settings(connector=NAME, lead_policy="always", owner_id="ken")
    await publish(bootstrap, topics.NOTICES, [(ACME, encoded(configured, ACME, "configured"))])
    chats = [
        transcript(
            chat_id=f"c{number}",
            visitor_email=f"v{number % PEOPLE}@example.com",
            link=f"https://chat.example.com/t/c{number}",
        )
        for number in range(CHATS)
    ]
    records = [(ACME, encoded(one, ACME, f"e-{one.chat_id}")) for one in chats]
    await publish(bootstrap, topics.TRANSCRIPTS, records)
    with crm_sync(bootstrap, tmp_path, live.tryton) as worker:
        for moment in sorted(chance.sample(range(CHATS // 10, CHATS * 9 // 10), KILLS)):
            worker.start()
            await until(lambda: len(filed(live.tryton)) >= moment, worker)  # noqa: B023
            worker.kill()
        worker.start()

        async def all_settled() -> bool:
            told = [one["data"] for one in await outcomes(bootstrap, topics.ACTIVITIES)]
            activities = [one for one in told if one["kind"] == "activity"]
            assert {(one["kind"], one.get("code")) for one in told if one["result"] != "done"} == set()
            return len({one["chat_id"] for one in activities}) == CHATS

        await until(all_settled, worker)
        assert await worker.stop() == 0
    assert Counter(filed(live.tryton)) == Counter({one.chat_id: 1 for one in chats})
    leads = Counter(address for _, address, _, _ in await live.world.office.people())
    assert leads == Counter({f"v{number}@example.com": 1 for number in range(PEOPLE)})
