from dataclasses import replace

import pytest
from sqlalchemy import insert

from schemas.events import Layouts
from schemas.outcomes import CrmOwner, CrmRecord
from services.crm_sync.connectors.embedded.connector import DECLARED, EmbeddedCrm
from services.crm_sync.connectors.embedded.tables import ActivityRow, Base, PersonRow
from services.crm_sync.connectors.embedded.views import FeedFilter
from services.crm_sync.connectors.records import PersonKind, Staff
from services.runtime.database import open_async
from services.runtime.effects import Refused
from tests.crm_sync.connector_contract import ConnectorContract
from tests.crm_sync.connector_world import ACME, LEAD, NOTE, TICKET, World, activity
from tests.crm_sync.embedded_world import embedded_world

FIRST_RELEASE = [
    [
        "id",
        "workspace_id",
        "marker",
        "kind",
        "name",
        "email",
        "email_key",
        "phone",
        "owner_id",
        "source",
        "note",
        "is_open",
        "created_ms",
    ],
    ["id", "workspace_id", "marker", "person_id", "type", "title", "text", "started_at", "ended_at", "link"],
    ["id", "activity_id", "agent_id", "name", "team", "staff_group"],
]
"""The columns of its tables: adding one there would break every database that is there."""


@pytest.fixture
async def world(crm: EmbeddedCrm) -> World:
    return await embedded_world(crm)


@pytest.mark.parametrize(
    "new_database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.crm)], indirect=True
)
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


async def test_a_database_of_an_earlier_release_is_opened_as_it_is(database_url: str) -> None:
    tables = Base.metadata.tables
    engine = open_async(database_url)
    async with engine.begin() as connection:
        # What the first release made, and all it made.
        earlier = [tables[name] for name in ("crm_people", "crm_activities", "crm_activity_staff")]
        assert [table.columns.keys() for table in earlier] == FIRST_RELEASE
        await connection.run_sync(lambda sync: Base.metadata.create_all(sync, tables=earlier))
        await connection.execute(
            insert(PersonRow).values(
                workspace_id=ACME,
                marker="old",
                kind="lead",
                name="Hanako",
                email="h@example.com",
                email_key="h@example.com",
                is_open=True,
                created_ms=1,
            )
        )
    await engine.dispose()
    crm = await EmbeddedCrm.open(database_url)
    (hanako,) = await crm.find_people("h@example.com", workspace_id=ACME)
    await crm.add_note(NOTE, to=hanako.record, marker="N", workspace_id=ACME)
    await crm.create_ticket(replace(TICKET, person=hanako.record), marker="T", workspace_id=ACME)
    card = await crm.read_card(hanako.record, layouts=Layouts(lead=("name",)), workspace_id=ACME)
    assert [(part.kind, part.name) for part in card.sections] == [("lead", "Hanako")]
    await crm.close()


async def test_merged_people_are_found_by_all_their_addresses_and_bring_what_they_had(
    crm: EmbeddedCrm,
) -> None:
    records = [
        (
            await crm.add_person(
                kind="contact", name=name, email=f"{name}@example.com", marker=name, workspace_id=ACME
            )
        ).record
        for name in ("one", "two", "three")
    ]
    for record in records:
        await crm.add_activity(activity(), to=record, marker=f"A{record.id}", workspace_id=ACME)
        await crm.create_ticket(replace(TICKET, person=record), marker=f"T{record.id}", workspace_id=ACME)
    one, two, three = records
    await crm.merge_people(one, into=two, workspace_id=ACME)
    await crm.merge_people(two, into=three, workspace_id=ACME)
    await crm.merge_people(one, into=three, workspace_id=ACME)
    for name in ("one", "two", "three"):
        found = await crm.find_people(f"{name}@example.com", workspace_id=ACME)
        assert [person.record for person in found] == [three]
    feed = await crm.feed(FeedFilter(), workspace_id=ACME)
    assert [item.person for item in feed.items] == ["three"] * 3
    tickets = await crm.tickets(workspace_id=ACME, person=int(three.id))
    assert tickets.total == 3
    assert (await crm.set_phone("+81312345678", of=one, workspace_id=ACME)).record == three
    with pytest.raises(Refused, match=r"\Arecord_gone\Z"):
        await crm.merge_people(three, into=one, workspace_id="other")


async def test_a_card_shows_lead_and_contact_of_one_address(crm: EmbeddedCrm) -> None:
    async def add(kind: PersonKind, name: str, created_ms: int, *, is_open: bool = True) -> CrmRecord:
        added = await crm.add_person(
            kind=kind,
            name=name,
            email="h@example.com",
            marker=name,
            workspace_id=ACME,
            created_ms=created_ms,
            is_open=is_open,
            company="Yamada" if kind == "contact" else None,
        )
        return added.record

    contact = await add("contact", "contact", 1)
    lead = await add("lead", "lead", 2)
    await add("deal", "won", 3, is_open=False)
    for record in (contact, lead):
        card = await crm.read_card(record, layouts=Layouts(), workspace_id=ACME)
        assert card.record == record
        assert [(part.kind, part.name) for part in card.sections] == [
            ("lead", "lead"),
            ("person", "contact"),
            ("company", "Yamada"),
        ]


async def test_no_more_people_are_found_than_declared(crm: EmbeddedCrm) -> None:
    found_max = DECLARED.limits.people_found_max
    async with crm.writing() as session:
        session.add_all(
            PersonRow(
                workspace_id=ACME,
                marker=f"{number}",
                kind="lead",
                name="H",
                email_key="h@example.com",
                is_open=True,
                created_ms=number,
            )
            for number in range(found_max + 1)
        )
        await session.commit()
    found = await crm.find_people("h@example.com", workspace_id=ACME)
    assert [one.created_ms for one in found] == list(range(found_max, 0, -1))


async def test_an_owner_with_an_address_as_id_can_be_mailed(crm: EmbeddedCrm) -> None:
    for owner_id, email in (("ken", None), ("ken@example.com", "ken@example.com")):
        made = await crm.create_lead(replace(LEAD, owner_id=owner_id), marker=owner_id, workspace_id=ACME)
        assert made.owner == CrmOwner(owner_id, email=email)


async def test_what_the_database_does_not_take_is_refused(crm: EmbeddedCrm, crm_url: str) -> None:
    if crm_url.startswith("sqlite"):
        pytest.skip("SQLite takes any text")
    hanako = await crm.add_person(kind="lead", name="H", email=None, marker="seed", workspace_id=ACME)
    with pytest.raises(Refused, match=r"\Afield_refused\Z"):
        await crm.add_note(replace(NOTE, text="\0"), to=hanako.record, marker="M", workspace_id=ACME)
    with pytest.raises(Refused, match=r"\Afield_refused\Z"):
        await crm.set_phone("1" * 300, of=hanako.record, workspace_id=ACME)


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
    async with crm.writing() as session:
        session.add_all(
            ActivityRow(
                workspace_id=ACME,
                marker=f"{number}",
                person_id=int(hanako.record.id),
                type="chat",
                title=f"{number}",
                text="",
                started_at="",
                ended_at=f"2026-11-21T{number // 60:02d}:{number % 60:02d}:00.000Z",
                link="",
            )
            for number in range(shown_max + 2)
        )
        await session.commit()
    page = await crm.feed(FeedFilter(), workspace_id=ACME)
    assert page.total == shown_max + 2
    assert len(page.items) == shown_max
    assert page.items[0].activity.title == str(shown_max + 1)
