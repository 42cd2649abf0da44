import asyncio
from collections.abc import AsyncIterator

import pytest

from schemas.outcomes import CrmRecord
from services.crm_sync.waiting import KEPT_MS, OF_CHAT_MAX, Waiting
from services.runtime.ledger import Ledger

LEAD, OTHER = CrmRecord("lead", "1"), CrmRecord("lead", "2", "https://crm.example/2")


@pytest.fixture
async def waiting(database_url: str) -> AsyncIterator[Waiting]:
    async with Ledger(database_url, group="effects") as ledger:
        yield Waiting(ledger)


def place(offset: int) -> tuple[str, int, int]:
    return "chat.transcripts.v1", 3, offset


async def test_conversations_are_kept_by_chat_in_the_order_of_their_revisions(waiting: Waiting) -> None:
    for revision, offset in ((2, 2**40), (1, 7), (1, 9)):
        await waiting.put("c1", revision, place(offset), workspace_id="acme", now_ms=0)
    await waiting.put("c2", 1, place(8), workspace_id="acme", now_ms=0)
    await waiting.put("c1", 1, place(5), workspace_id="other", now_ms=0)
    assert await waiting.of_chat("c1", workspace_id="acme") == [(1, place(7)), (2, place(2**40))]
    assert await waiting.has("c1", 2, workspace_id="acme")
    await waiting.drop("c1", 2, workspace_id="acme")
    await waiting.drop("c1", 3, workspace_id="acme")
    assert not await waiting.has("c1", 2, workspace_id="acme")
    assert await waiting.of_chat("c1", workspace_id="acme") == [(1, place(7))]
    assert await waiting.of_chat("c1", workspace_id="other") == [(1, place(5))]


async def test_of_many_revisions_the_first_ones(waiting: Waiting) -> None:
    await asyncio.gather(
        *(
            waiting.put("c1", number, place(number), workspace_id="acme", now_ms=0)
            for number in range(OF_CHAT_MAX + 2)
        )
    )
    found = await waiting.of_chat("c1", workspace_id="acme")
    assert [revision for revision, _ in found] == list(range(OF_CHAT_MAX))


async def test_a_chat_has_the_lead_that_was_asked_for_last(waiting: Waiting) -> None:
    assert await waiting.lead_of("c1", workspace_id="acme") is None
    await waiting.put_lead("c1", LEAD, workspace_id="acme", now_ms=0)
    await waiting.put_lead("c1", OTHER, workspace_id="acme", now_ms=0)
    assert await waiting.lead_of("c1", workspace_id="acme") == CrmRecord("lead", "2")
    assert await waiting.lead_of("c1", workspace_id="other") is None
    assert await waiting.lead_of("c2", workspace_id="acme") is None


async def test_what_is_older_than_the_topic_goes(waiting: Waiting) -> None:
    await waiting.put("c1", 1, place(1), workspace_id="acme", now_ms=0)
    await waiting.put_lead("c1", LEAD, workspace_id="acme", now_ms=0)
    await waiting.put("c2", 1, place(2), workspace_id="acme", now_ms=KEPT_MS)
    assert await waiting.has("c1", 1, workspace_id="acme")
    await waiting.put_lead("c3", LEAD, workspace_id="acme", now_ms=KEPT_MS + 1)
    assert not await waiting.has("c1", 1, workspace_id="acme")
    assert await waiting.lead_of("c1", workspace_id="acme") is None
    assert await waiting.has("c2", 1, workspace_id="acme")
