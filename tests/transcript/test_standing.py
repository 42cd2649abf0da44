"""What stands now, behind the real router: the archive shows what the router knows, in whatever order the topics are read."""

import asyncio
from collections.abc import Callable
from itertools import islice
from random import Random
from typing import Any

import pytest
from sqlalchemy import select

from schemas import decisions as d
from schemas import events as e
from schemas.notices import Notice
from schemas.topics import EVENTS, ROUTING
from services.router.core.state import Workspace
from services.router.records import encode_emitted
from services.runtime.ports import InputRecord
from services.transcript.archive import presence, standing, tables
from services.transcript.archive.batch import Batch
from services.transcript.archive.database import Archive
from tests.router.happenings import play, stream
from tests.router.scenes import Scene
from tests.transcript.sources import contents, drain
from tests.transcript.test_after_router import record_of, shuffled

DAY_LENGTH = 220
PLACING = (d.ChatQueued, d.ChatOffered, d.ChatAssigned, d.ChatMissed, d.ChatClosed)


def placed(scene: Scene) -> set[str]:
    """The chats of which a decision says where they are; before the first one its bot has each."""
    decided: list[Any] = [item.data for item in scene.emitted if isinstance(item.data, PLACING)]
    return {data.chat_id for data in decided if getattr(data, "kind", "new") in ("new", "bot_transfer")}


def logs(scene: Scene) -> tuple[list[InputRecord], list[InputRecord]]:
    """Events and decisions as the topics hold them."""
    decided = [item for item in scene.emitted if not isinstance(item.data, Notice)]
    routing = [
        InputRecord(ROUTING, 0, offset, item.at_ms, item.workspace_id.encode(), encode_emitted(item).value)
        for offset, item in enumerate(decided)
    ]
    return [record_of(entry) for entry in scene.entries], routing


async def clear(archive: Archive) -> None:
    async with archive.engine.begin() as connection:
        for table in tables.metadata.sorted_tables:
            await connection.execute(table.delete())


async def seen(archive: Archive) -> dict[str, Any]:
    """What the archive says stands now."""
    async with archive.engine.connect() as connection:

        async def rows(query: Any) -> list[tuple[Any, ...]]:
            return sorted((tuple(row) for row in await connection.execute(query)), key=repr)

        dept, m, a = standing.departments.c, standing.members.c, standing.agents.c
        k, c = standing.monitors.c, tables.conversations.c
        said, x, t = presence.with_status(), standing.matches.c, standing.tags.c
        return {
            "departments": await rows(select(dept.department_id, dept.name, dept.visibility, dept.enabled)),
            "members": await rows(select(m.department_id, m.agent_id)),
            "agents": await rows(select(a.agent_id, a.role, a.max_chats)),
            "monitors": await rows(select(k.monitor_id, k.kind, k.value, k.owner_agent_id, k.enabled)),
            "status": await rows(
                select(a.agent_id, said.c.status)
                .join(said, (said.c.workspace_id == a.workspace_id) & (said.c.agent_id == a.agent_id))
                .where(said.c.status != "offline")
            ),
            "chats": await rows(
                select(
                    c.chat_id,
                    c.phase,
                    c.revision,
                    c.owner_id,
                    c.inbox_status,
                    c.inbox_agent_id,
                    c.participants,
                ).where(c.phase.is_not(None))
            ),
            "rung": await rows(select(c.chat_id, c.rung_agent_ids).where(c.rung_agent_ids.is_not(None))),
            "matches": await rows(
                select(x.chat_id, x.monitor_id, x.owner_agent_id).where(x.until_ms.is_(None))
            ),
            "tags": await rows(select(t.chat_id, t.tag)),
        }


def known(ws: Workspace, chat_ids: set[str]) -> dict[str, Any]:
    """What the router says stands now."""

    def rows(found: Any) -> list[tuple[Any, ...]]:
        return sorted(found, key=repr)

    departments = [each for each in ws.departments.values() if not each.removed]
    agents = [each for each in ws.agents.values() if not each.removed]
    chats = [chat for chat in ws.chats.values() if chat.id in chat_ids]
    return {
        "departments": rows(
            (each.id, each.settings.name, each.settings.visibility, each.settings.enabled)
            for each in departments
        ),
        "members": rows(
            {(each.id, agent_id) for each in departments for agent_id in each.settings.agent_ids}
        ),
        "agents": rows((each.id, each.settings.role, each.settings.max_chats) for each in agents),
        "monitors": rows(
            (m.id, m.settings.kind, m.settings.value, m.settings.owner_agent_id, m.settings.enabled)
            for m in ws.monitors.values()
        ),
        "status": rows((each.id, each.status) for each in agents if each.status != "offline"),
        "chats": rows(
            (
                chat.id,
                chat.phase,
                chat.revision,
                chat.owner_id,
                chat.inbox,
                chat.inbox_agent_id,
                dict(chat.participant_ids) or None,
            )
            for chat in chats
        ),
        "rung": rows((chat.id, list(chat.offer.agent_ids)) for chat in chats if chat.offer is not None),
        "matches": rows((chat.id, *match) for chat in chats for match in chat.watchers.items()),
        "tags": rows((chat.id, tag) for chat in ws.chats.values() for tag in chat.tags),
    }


async def compare(archive: Archive, scene: Scene, seed: int = 0) -> dict[str, Any]:
    """Reads a scene's log in several orders, and once more from its beginning; what stands is what the router knows."""
    events, routing = logs(scene)
    random = Random(seed)
    wanted = known(scene.ws, placed(scene))
    stood = []
    for records in ([*events, *routing], [*routing, *events], shuffled(events, routing, random)):
        await clear(archive)
        await drain(archive, records, batch=random.choice((7, 50, 1_000)))
        found = await seen(archive)
        for name, rows in wanted.items():
            assert found[name] == rows, f"seed {seed}: {name}"
        stood.append(await contents(archive))
    async with archive.engine.begin() as connection:
        await connection.execute(tables.offsets.delete())
    await drain(archive, records, batch=40)
    stood.append(await contents(archive))
    assert all(each == stood[0] for each in stood), f"seed {seed}"
    return wanted


FEW = [range(4), range(4, 8)]
MANY = [pytest.param(range(at, at + 4), marks=pytest.mark.archive) for at in range(8, 80, 4)]


@pytest.mark.parametrize("seeds", [*FEW, *MANY], ids=lambda seeds: f"seeds{seeds.start}")
async def test_it_shows_what_the_router_knows(archive: Archive, seeds: range) -> None:
    for seed in seeds:
        await compare(archive, play(Scene(ticks=True), list(islice(stream(seed), DAY_LENGTH))), seed)


# ---------------------------------------------------------------- what random days seldom bring


def silence(scene: Scene) -> dict[str, Any]:
    scene.agents("ann", "bob", "cyd")
    for agent_id in ("ann", "bob"):
        scene.say(e.AgentHeartbeat(agent_id))
    scene.beat(40)
    scene.say(e.AgentHeartbeat("bob"))
    scene.beat(30)
    return {"status": [("bob", "online"), ("cyd", "online")]}


def silence_is_over_only_with_a_status(scene: Scene) -> dict[str, Any]:
    scene.agents("ann", "bob")
    for agent_id in ("ann", "bob"):
        scene.say(e.AgentHeartbeat(agent_id))
    scene.beat(61)
    scene.say(e.AgentHeartbeat("ann"))
    scene.presence("bob", "away")
    scene.beat(30)
    scene.say(e.AgentHeartbeat("ann"))
    return {"status": [("bob", "away")]}


def an_outage_of_the_router_is_no_silence(scene: Scene) -> dict[str, Any]:
    scene.agents("ann")
    scene.say(e.AgentHeartbeat("ann"))
    scene.beat(5)
    scene.wait(600)
    scene.beat(5)
    scene.say(e.AgentHeartbeat("ann"))
    return {"status": [("ann", "online")]}


def marked_away_and_back(scene: Scene) -> dict[str, Any]:
    scene.department("ann", "bob", no_answer_limit=1, offer_timeout_s=2.0, wait_timeout_s=30.0)
    scene.agents("ann", "bob")
    scene.ask("c1")
    scene.beat(6)
    scene.presence("ann", "online")
    return {"status": [("ann", "online"), ("bob", "away")]}


def said_before_they_were_known_or_after_they_were_deleted(scene: Scene) -> dict[str, Any]:
    scene.presence("ann", "online")
    scene.agent("ann")
    scene.agents("bob", "cyd")
    scene.say(e.AgentDeleted("bob"))
    scene.presence("bob", "online")
    scene.agent("bob")
    return {"status": [("cyd", "online")]}


def monitors_go_with_their_owner(scene: Scene) -> dict[str, Any]:
    scene.agent("sue", role="supervisor")
    scene.agent("ann")
    scene.watch("sue", "agent", "ann", id="m1")
    scene.watch("ann", "agent", "sue", id="m2")
    scene.say(e.AgentDeleted("sue"))
    scene.agent("sue", role="supervisor")
    scene.watch("sue", "ip", "10.0.0.1", id="m3")
    return {"monitors": [("m3", "ip", "10.0.0.1", "sue", True)]}


def an_old_event_again(scene: Scene) -> dict[str, Any]:
    scene.say(e.DepartmentConfigured("office", "First"), event_id="first")
    scene.say(e.DepartmentConfigured("office", "Second"), event_id="second")
    scene.agents("ann")
    scene.say(e.AgentPresence("ann", "away"), event_id="away")
    scene.say(e.AgentPresence("ann", "online"), event_id="back")
    scene.wait(3_600)
    scene.say(e.DepartmentConfigured("office", "First"), event_id="first")
    scene.say(e.AgentPresence("ann", "away"), event_id="away")
    return {
        "departments": [("acme", "acme", "public", True), ("office", "Second", "public", True)],
        "status": [("ann", "online")],
    }


def an_old_event_again_after_a_day(scene: Scene) -> dict[str, Any]:
    scene.say(e.DepartmentConfigured("office", "First"), event_id="first")
    scene.say(e.DepartmentConfigured("office", "Second"), event_id="second")
    scene.wait(24 * 3_600 + 1)
    scene.say(e.DepartmentConfigured("office", "First"), event_id="first")
    return {"departments": [("acme", "acme", "public", True), ("office", "First", "public", True)]}


def the_default_department(scene: Scene) -> dict[str, Any]:
    scene.workspace(name="Acme & Co")
    scene.say(e.DepartmentDeleted("acme"))
    scene.department(id="acme", private=True)
    scene.department("ann")
    scene.say(e.DepartmentDeleted("office"))
    return {"departments": [("acme", "Acme & Co", "public", True)], "members": []}


SCENES = (
    silence,
    silence_is_over_only_with_a_status,
    an_outage_of_the_router_is_no_silence,
    marked_away_and_back,
    said_before_they_were_known_or_after_they_were_deleted,
    monitors_go_with_their_owner,
    an_old_event_again,
    an_old_event_again_after_a_day,
    the_default_department,
)


@pytest.mark.parametrize("act", SCENES, ids=lambda act: act.__name__)
async def test_what_random_days_seldom_bring(
    archive: Archive, act: Callable[[Scene], dict[str, Any]]
) -> None:
    scene = Scene(ticks=True)
    scene.tick()
    wanted = act(scene)
    assert (await compare(archive, scene)).items() >= wanted.items()


async def test_two_who_write_at_once_see_what_the_other_knows(archive: Archive) -> None:
    """A setting and its refusal stand in different topics, and may be read by different projectors."""
    partitions = [(topic, number) for topic in (EVENTS, ROUTING) for number in range(8)]
    await archive.offsets(partitions)
    scene = Scene(ticks=True)
    scene.agent("ann")
    scene.watch("ann", "ip", "10.0.0.1")
    events, routing = logs(scene)
    (refusal,) = routing
    for number in range(8):
        one, other = Batch(moved={(EVENTS, number): (0, 2)}), Batch(moved={(ROUTING, number): (0, 1)})
        for record in events:
            one.take(record)
        other.take(refusal)
        await asyncio.gather(archive.write(one), archive.write(other))
        assert (await contents(archive))["monitors"] == []
        async with archive.engine.begin() as connection:
            for table in (standing.snapshots, tables.refusals):
                await connection.execute(table.delete())
