"""Lists at size: a page of a full archive comes within 20 times of what it takes where nothing is archived."""

import gc
import os
from collections.abc import AsyncIterator, Iterator
from time import perf_counter

import httpx
import pytest

from services.runtime.database import open_single
from services.runtime.process import COLLECT_AFTER
from services.transcript.archive.database import Archive, migrate
from tests.databases import NewDatabase
from tests.transcript.bulk import COMMON, RARE, Size, fill
from tests.transcript.company import bearer, client_of

LONG = os.environ.get("ARCHIVE") == "long"
SIZE = Size(chats=1_000_000 if LONG else 100_000)
"""Ten messages a chat."""
RATIO_MAX = 20
REQUESTS = 100
"""Of each list; so the p99 is the second worst."""
MINUTES = 240 if LONG else 60

LISTS = [
    "chats",
    "chats?department_id=d3",
    "chats?agent_id=a7",
    "chats?outcome=handled_by_bot",
    "chats?missed=true",
    "chats?missed=false",
    "chats?missed_tag=bot_transfer_failed",
    "chats?tag=vip",
    "chats?tag=none",
    "chats?since=2026-12-01T00:00:00Z&until=2026-12-02T00:00:00Z",
    f"chats?text={COMMON}",
    f"chats?text={RARE}",
    f"chats?text={COMMON}%20{RARE}",
    "chats?text=無い言葉",
    f"chats?department_id=d3&agent_id=a3&text={COMMON}",
    "chats?department_id=d3&missed_tag=unattended",
    "missed",
    "missed?status=closed",
    "missed?department_id=d3",
    "monitored",
    "monitored?live=false",
    "tags",
    "canned-messages",
    "departments",
    "departments/d3/agents",
    "departments/d3/queue",
]
CALLERS = {
    "admin": bearer("admin", "a0"),
    "supervisor": bearer("supervisor", "a1"),
    "agent": bearer("agent", "a13"),
}


@pytest.fixture(scope="module")
def urls(new_database: NewDatabase) -> tuple[str, str]:
    """An archive where only the settings are known, and a full one."""
    return filled(new_database(), Size(chats=0)), filled(new_database(), SIZE)


def filled(url: str, size: Size) -> str:
    engine = open_single(url)
    migrate(engine.url)
    fill(engine, size)
    engine.dispose()
    return url


@pytest.fixture
async def clients(urls: tuple[str, str]) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    empty, full = (Archive.at(url) for url in urls)
    async with client_of(empty) as of_empty, client_of(full) as of_full:
        yield of_empty, of_full
    await empty.close()
    await full.close()


@pytest.fixture
def _collecting_like_a_worker() -> Iterator[None]:
    """Each search for cycles takes a quarter of a second here: no p99 may be made of that, so there are as few as in a worker."""
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER)
    yield
    gc.set_threshold(*before)


class Reading:
    """Pages of one list, on and on."""

    def __init__(self, client: httpx.AsyncClient, address: str, who: dict[str, str]) -> None:
        self._client, self._address, self._who = client, f"/v1/acme/{address}", who
        self._cursor: dict[str, str] = {}
        self.took_s: list[float] = []

    async def read(self) -> None:
        address = httpx.URL(self._address).copy_merge_params(self._cursor)
        began_s = perf_counter()
        response = await self._client.get(address, headers=self._who)
        self.took_s.append(perf_counter() - began_s)
        assert response.status_code == 200, response.text
        following = response.json()["next"]
        self._cursor = {} if following is None else {"cursor": following}

    @property
    def p99_ms(self) -> float:
        return 1000 * sorted(self.took_s)[int(0.99 * len(self.took_s)) - 1]


@pytest.mark.archive
@pytest.mark.timeout(60 * MINUTES)
@pytest.mark.usefixtures("_collecting_like_a_worker")
async def test_a_page_of_a_full_archive_is_not_much_slower(
    clients: tuple[httpx.AsyncClient, httpx.AsyncClient],
) -> None:
    slow = {}
    for role, who in CALLERS.items():
        for address in LISTS:
            if role == "agent" and address.partition("?")[0] in ("monitored", "departments/d3/queue"):
                continue  # hers to read neither
            empty, full = (Reading(client, address, who) for client in clients)
            for _ in range(REQUESTS):
                await empty.read()
                await full.read()
            ratio = full.p99_ms / empty.p99_ms
            print(f"{role:<11} {address:<64} {empty.p99_ms:6.1f} ms {full.p99_ms:6.1f} ms {ratio:5.1f}")  # noqa: T201
            if ratio >= RATIO_MAX:
                slow[f"{role} {address}"] = ratio
    assert slow == {}
