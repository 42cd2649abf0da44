from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import delete, select

from schemas.outcomes import CrmRecord
from services.crm_sync.connectors.embedded import DECLARED, EmbeddedCrm, FeedFilter
from services.crm_sync.connectors.embedded_tables import PersonRow
from services.crm_sync.connectors.records import PersonKind, Staff
from services.runtime.database import open_async
from tests.crm_sync.connector_contract import ACME, ConnectorContract, World, activity


class EmbeddedOffice:
    def __init__(self, crm: EmbeddedCrm, url: str) -> None:
        self._crm = crm
        self._url = url
        self._added = 0

    async def add(
        self, kind: PersonKind, name: str, email: str | None, *, workspace_id: str = ACME, created_ms: int = 0
    ) -> CrmRecord:
        self._added += 1
        person = await self._crm.add_person(
            kind=kind,
            name=name,
            email=email,
            created_ms=created_ms,
            marker=f"seed-{self._added}",
            workspace_id=workspace_id,
        )
        return person.record

    async def remove(self, record: CrmRecord) -> None:
        engine = open_async(self._url)
        async with engine.begin() as connection:
            await connection.execute(delete(PersonRow).where(PersonRow.id == int(record.id)))
        await engine.dispose()

    async def feed(self, workspace_id: str = ACME) -> list[tuple[str, str]]:
        page = await self._crm.feed(FeedFilter(), workspace_id=workspace_id)
        return [(item.person, item.activity.text) for item in page.items]

    async def people(self, workspace_id: str = ACME) -> list[tuple[str, str | None, str | None, str | None]]:
        engine = open_async(self._url)
        async with engine.connect() as connection:
            rows = await connection.execute(
                select(PersonRow.name, PersonRow.email, PersonRow.owner_id, PersonRow.source)
                .where(PersonRow.workspace_id == workspace_id)
                .order_by(PersonRow.id)
            )
            found = [(name, email, owner_id, source) for name, email, owner_id, source in rows]
        await engine.dispose()
        return found


@pytest.fixture
async def crm(database_url: str) -> AsyncIterator[EmbeddedCrm]:
    opened = await EmbeddedCrm.open(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def world(crm: EmbeddedCrm, database_url: str) -> World:
    return World(crm, EmbeddedOffice(crm, database_url))


class TestEmbedded(ConnectorContract):
    pass


async def test_what_is_kept_is_there_after_opening_again(database_url: str) -> None:
    first = await EmbeddedCrm.open(database_url)
    await first.add_person(
        kind="lead", name="Hanako", email="h@example.com", marker="seed", workspace_id=ACME
    )
    await first.close()
    second = await EmbeddedCrm.open(database_url)
    await second.add_person(
        kind="lead", name="Hanako", email="h@example.com", marker="seed", workspace_id=ACME
    )
    assert len(await second.find_people("h@example.com", workspace_id=ACME)) == 1
    await second.close()


async def test_two_workers_on_one_database_make_one_lead(database_url: str) -> None:
    one, other = await EmbeddedCrm.open(database_url), await EmbeddedCrm.open(database_url)
    first = await one.add_person(kind="lead", name="H", email="h@example.com", marker="M", workspace_id=ACME)
    second = await other.add_person(
        kind="lead", name="H", email="h@example.com", marker="M", workspace_id=ACME
    )
    assert first == second
    await one.close()
    await other.close()


async def test_a_closed_lead_is_told_as_closed(crm: EmbeddedCrm) -> None:
    await crm.add_person(
        kind="lead",
        name="H",
        email="h@example.com",
        marker="M",
        workspace_id=ACME,
        is_open=False,
        owner_id="ken",
    )
    (found,) = await crm.find_people("h@example.com", workspace_id=ACME)
    assert not found.open
    assert found.owner is not None
    assert found.owner.id == "ken"


KEN, MIA, RIN = (
    Staff("ken", "Ken", "east", "sales"),
    Staff("mia", "Mia", "east", "care"),
    Staff("rin", "Rin", "west", "sales"),
)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (FeedFilter(), {"1", "2", "3"}),
        (FeedFilter(type="chat"), {"1", "3"}),
        (FeedFilter(type="missed_chat"), {"2"}),
        (FeedFilter(user="mia"), {"1"}),
        (FeedFilter(team="east"), {"1"}),
        (FeedFilter(group="sales"), {"1", "3"}),
        (FeedFilter(team="east", group="sales"), {"1"}),
        (FeedFilter(user="mia", group="sales"), set()),
        (FeedFilter(type="chat", team="west"), {"3"}),
        (FeedFilter(team="' OR 1=1 --"), set()),
    ],
)
async def test_feed_filters(crm: EmbeddedCrm, shown: FeedFilter, expected: set[str]) -> None:
    hanako = await crm.add_person(kind="lead", name="H", email=None, marker="seed", workspace_id=ACME)
    entries = (
        replace(activity(), title="1", agents=(KEN, MIA)),
        replace(activity(), title="2", type="missed_chat", agents=()),
        replace(activity(), title="3", agents=(RIN,)),
    )
    for entry in entries:
        await crm.add_activity(entry, to=hanako.record, marker=entry.title, workspace_id=ACME)
    page = await crm.feed(shown, workspace_id=ACME)
    assert {item.activity.title for item in page.items} == expected
    assert page.total == len(expected)
    assert page.types == ("chat", "missed_chat")
    assert page.users == (("ken", "Ken"), ("mia", "Mia"), ("rin", "Rin"))
    assert page.teams == ("east", "west")
    assert page.groups == ("care", "sales")


async def test_feed_shows_the_latest_and_says_how_many_there_are(crm: EmbeddedCrm) -> None:
    hanako = await crm.add_person(kind="lead", name="H", email=None, marker="seed", workspace_id=ACME)
    shown_max = DECLARED.limits.feed_items_max
    assert shown_max is not None
    for number in range(shown_max + 2):
        entry = replace(
            activity(), title=str(number), ended_at=f"2026-11-21T{number // 60:02d}:{number % 60:02d}:00.000Z"
        )
        await crm.add_activity(entry, to=hanako.record, marker=str(number), workspace_id=ACME)
    page = await crm.feed(FeedFilter(), workspace_id=ACME)
    assert page.total == shown_max + 2
    assert len(page.items) == shown_max
    assert page.items[0].activity.title == str(shown_max + 1)
