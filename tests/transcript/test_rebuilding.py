"""The archive made anew from the topics: what they hold is made right, what they no longer hold stays, or goes when that is wanted."""

import asyncio

import pytest
from sqlalchemy import text

from schemas.events import (
    AgentConfigured,
    AgentDeleted,
    AgentHeartbeat,
    AgentPresence,
    CannedMessageConfigured,
    DepartmentConfigured,
    MonitorConfigured,
    WorkspaceConfigured,
)
from services.runtime.metrics import Metrics
from services.runtime.ports import InputRecord
from services.transcript.archive import tables
from services.transcript.archive.batch import Partition
from services.transcript.archive.database import Archive
from services.transcript.archive.kafka_log import Held
from services.transcript.archive.projector import Projector
from services.transcript.archive.rebuilding import Rebuilt, rebuild
from tests.transcript.sources import ListLog, contents, drain, everything
from tests.transcript.test_migrations import found
from tests.transcript.world import START_MS, World


def history() -> list[InputRecord]:
    world = World()
    world.publish(AgentConfigured("a1", "Ann"))
    world.publish(AgentConfigured("a2", "Bob", role="supervisor"))
    world.publish(DepartmentConfigured("sales", "営業", agent_ids=("a1",)))
    world.publish(MonitorConfigured("m1", "agent", "a1", "a2"))
    world.publish(AgentPresence("a1", "online"))
    world.request("old", question="昔の質問")
    world.say("old", "昔の話")
    world.tag("old", "vip")
    world.end("old")
    world.now_ms += 1_000_000
    world.request("new", question="新しい質問")
    world.say("new", "新しい話")
    world.miss("new")
    world.publish(AgentPresence("a1", "away"))
    world.publish(AgentDeleted("a2"))
    world.tag("new", "urgent")
    return everything(world)


def of(records: list[InputRecord]) -> dict[Partition, Held]:
    """What the topics hold when these are all their records."""
    partitions = sorted({(record.topic, record.partition) for record in records})
    mine = {each: [r for r in records if (r.topic, r.partition) == each] for each in partitions}
    return {
        each: Held(found[0].offset, found[-1].offset + 1, found[0].timestamp_ms)
        for each, found in mine.items()
    }


def is_old(record: InputRecord) -> bool:
    return b'"old"' in (record.value or b"") or record.timestamp_ms == START_MS


async def run(archive: Archive, records: list[InputRecord], *, discard: bool = False) -> Rebuilt:
    shown: list[tuple[int, int]] = []
    rebuilt = await asyncio.wait_for(
        rebuild(
            archive,
            ListLog(records, batch=4),
            of(records),
            discard=discard,
            show=lambda done, total: shown.append((done, total)),
        ),
        20,
    )
    assert shown == sorted(shown)
    assert shown[-1] == (rebuilt.offsets, rebuilt.offsets)
    return rebuilt


WRONG = (
    "UPDATE chats SET question = 'wrong', outcome = 'handled', visitor_id = 'nobody'",
    "UPDATE messages SET text = 'wrong'",
    "UPDATE requests SET question = 'wrong'",
    "UPDATE conversations SET phase = 'owned', department_id = 'nowhere', inbox_status = 'closed' WHERE chat_id = 'new'",
    "UPDATE conversations SET tags = '[]'",
    "DELETE FROM tags",
    "UPDATE departments SET name = 'wrong'",
    "UPDATE presence SET status = 'offline'",
    "DELETE FROM members",
    "DELETE FROM agents",
)


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_went_wrong_is_made_right(archive: Archive, wrong: str) -> None:
    records = history()
    await drain(archive, records)
    before = await contents(archive)
    async with archive.engine.begin() as connection:
        await connection.execute(text(wrong))
    assert await contents(archive) != before
    await run(archive, records)
    assert await contents(archive) == before


async def test_what_the_topics_no_longer_hold_stays(archive: Archive) -> None:
    records = history()
    await drain(archive, records)
    before = await contents(archive)
    left = [record for record in records if not is_old(record)]
    assert len({record.topic for record in left}) == len({record.topic for record in records})
    rebuilt = await run(archive, left)
    after = await contents(archive)
    assert {name: rows for name, rows in after.items() if name not in ("offsets", "presence")} == {
        name: rows for name, rows in before.items() if name not in ("offsets", "presence")
    }
    assert rebuilt.oldest_ms["chat.routing.v1"] == START_MS + 1_000_000
    assert (rebuilt.older_chats, rebuilt.older_settings) == (1, 4)


async def test_what_the_topics_no_longer_hold_goes_when_that_is_wanted(archive: Archive) -> None:
    records = history()
    await drain(archive, records)
    async with archive.engine.begin() as connection:
        erased = {"chat_hash": "x", "at_ms": 1}
        await connection.execute(tables.erased_chats.insert(), erased)
    left = [record for record in records if not is_old(record)]
    rebuilt = await run(archive, left, discard=True)
    after = await contents(archive)
    assert {row[1] for row in after["chats"]} == {"new"}
    assert len(after["erased_chats"]) == 1
    assert (rebuilt.older_chats, rebuilt.older_settings) == (0, 4)
    assert await found(archive, "新しい") == ["new"]
    assert await found(archive, "昔の") == []


SETTINGS = ("workspaces", "departments", "members", "agents", "monitors", "canned_messages")


@pytest.mark.parametrize("discard", [False, True])
async def test_settings_that_no_topic_can_say_again_stand(archive: Archive, *, discard: bool) -> None:
    """What is told of them later counts, whatever was told before: a refused one never does, and a newer one does."""
    world = World()
    world.publish(WorkspaceConfigured("Acme"))
    for agent_id in ("a1", "a2", "a3"):
        world.publish(AgentConfigured(agent_id, agent_id.upper(), role="supervisor"))
    world.publish(DepartmentConfigured("sales", "営業", agent_ids=("a1", "a2")))
    world.publish(MonitorConfigured("m1", "agent", "a1", "a3"))
    world.publish(MonitorConfigured("m2", "agent", "a1", "a2"))
    world.refuse(
        world.publish(CannedMessageConfigured("c1", "no such category", "none")),
        kind=CannedMessageConfigured.TYPE,
    )
    world.publish(AgentPresence("a1", "online"))
    world.publish(AgentHeartbeat("a1"))
    world.now_ms += 1_000_000
    world.publish(AgentConfigured("a1", "Renamed"))
    world.publish(AgentHeartbeat("a1"))
    world.publish(AgentDeleted("a3"))
    world.tag("c", "vip")
    records = everything(world)
    await drain(archive, records)
    before = await contents(archive)
    assert [row[2] for row in before["agents"]] == ["Renamed", "A2"]
    assert ([row[1] for row in before["monitors"]], before["canned_messages"]) == (["m2"], [])
    rebuilt = await run(
        archive, [record for record in records if record.timestamp_ms > START_MS], discard=discard
    )
    after = await contents(archive)
    assert {name: after[name] for name in SETTINGS} == {name: before[name] for name in SETTINGS}
    assert [row[:3] for row in after["presence"]] == [row[:3] for row in before["presence"]], "known ones"
    assert rebuilt.older_settings == (7 if discard else 8), "the refused one goes with its refusal"


async def test_settings_of_another_log_go_when_that_is_wanted(archive: Archive) -> None:
    """Topics that were made anew begin at their beginning: what an archive knows from others is not older, but something else."""
    await drain(archive, history())
    world = World()
    world.now_ms += 2_000_000
    world.publish(AgentConfigured("b1", "Beth"))
    world.tag("c", "vip")
    records = everything(world)
    await run(archive, records, discard=True)
    after = await contents(archive)
    assert [row[1] for row in after["agents"]] == ["b1"]
    assert [row[1] for row in after["presence"]] == ["b1"]
    assert [row[1] for row in after["departments"]] == ["acme"]


async def test_a_projector_that_runs_meanwhile_takes_part(archive: Archive) -> None:
    records = history()
    await drain(archive, records)
    before = await contents(archive)
    stop = asyncio.Event()
    running = asyncio.create_task(
        Projector(archive, ListLog(records, batch=1), metrics=Metrics(), sleep=at_once).run(stop)
    )
    await run(archive, records)
    stop.set()
    await running
    assert await contents(archive) == before


async def at_once(_seconds: float) -> None:
    await asyncio.sleep(0)
