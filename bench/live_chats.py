"""A partition with many live chats, as the changelog it leaves behind.

One rule: the real core decides and the real changelog writes, a transaction for each batch, so that the changelog holds superseded
records, seen ids and all, as one does that nothing has compacted yet.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count, islice

from schemas import events as e
from schemas.envelope import Envelope
from schemas.topics import PARTITIONS_DEFAULT
from services.local.partitions import partition_of
from services.router.changelog import Changelog
from services.router.core.partition import Entry, Partition
from services.runtime.ports import Change

PARTITION = 0
WORKSPACES, CHATS_PER_WORKSPACE, AGENTS_PER_WORKSPACE = 200, 500, 20
CHATS = WORKSPACES * CHATS_PER_WORKSPACE
OWNED_PER_AGENT = 20
"""400 of a workspace's 500 chats are with agents, the others wait."""
BATCH_EVENTS = 500
SPAN_MS = 1_200_000
"""The chats began within so long before now."""


def batches(now_ms: int, partition: Partition) -> Iterator[list[Change]]:
    """Give the changelog records of one transaction after another; at the end 100,000 chats are live in the partition."""
    changelog = Changelog(partition)
    total = WORKSPACES * (2 + 2 * AGENTS_PER_WORKSPACE) + 2 * CHATS
    for offset, (workspace_id, event) in enumerate(_events(partition)):
        at_ms = now_ms - SPAN_MS + offset * SPAN_MS // total
        partition.apply(Entry(_envelope(workspace_id, event, offset, at_ms), PARTITION, offset, at_ms))
        if offset % BATCH_EVENTS == BATCH_EVENTS - 1:
            yield list(changelog.changes())
    yield list(changelog.changes())
    live = sum(chat.live for ws in partition.workspaces.values() for chat in ws.chats.values())
    assert live == CHATS, f"{live} chats are live"


def _events(partition: Partition) -> Iterator[tuple[str, e.Event]]:
    """Give the settings first, then a chat of each workspace in turn; who owns one answers when all have had another."""
    names = (f"shop-{number}" for number in count())
    ours = (name for name in names if partition_of(name, partitions=PARTITIONS_DEFAULT) == PARTITION)
    workspace_ids = list(islice(ours, WORKSPACES))
    for workspace_id in workspace_ids:
        yield from ((workspace_id, event) for event in _settings())
    for number in range(CHATS_PER_WORKSPACE + 1):
        for workspace_id in workspace_ids:
            if number < CHATS_PER_WORKSPACE:
                yield workspace_id, _request(_chat_id(workspace_id, number), number)
            if number > 0:
                yield workspace_id, _answer(partition, workspace_id, number - 1)


def _chat_id(workspace_id: str, number: int) -> str:
    return f"{workspace_id}-chat-{number:06d}-5f0c1e7a"


def _answer(partition: Partition, workspace_id: str, number: int) -> e.ChatMessage:
    """Return the owner's first message, or the visitor's second while the chat waits."""
    chat_id = _chat_id(workspace_id, number)
    owner_id = partition.workspaces[workspace_id].chats[chat_id].owner_id
    sender = e.Sender(kind="visitor") if owner_id is None else e.Sender(kind="agent", id=owner_id)
    return e.ChatMessage(
        chat_id=chat_id, message_id=f"{chat_id}-1", sender=sender, text="Good morning, a moment please."
    )


def _settings() -> Iterator[e.Event]:
    yield e.WorkspaceConfigured(name="Shop", timezone="Asia/Tokyo")
    agents = tuple(_agent_id(number) for number in range(AGENTS_PER_WORKSPACE))
    yield e.DepartmentConfigured(
        department_id="support", name="Support", agent_ids=agents, routing=e.Routing(mode="auto")
    )
    for agent_id in agents:
        yield e.AgentConfigured(agent_id=agent_id, name=f"Agent {agent_id}", max_chats=OWNED_PER_AGENT)
        yield e.AgentPresence(agent_id=agent_id, status="online")


def _agent_id(number: int) -> str:
    return f"agent-{number:02d}"


def _request(chat_id: str, number: int) -> e.ChatRequested:
    return e.ChatRequested(
        chat_id=chat_id,
        channel="web",
        question="My parcel has not arrived yet, and the tracking page shows nothing since Monday. Can you help me?",
        visitor=e.Visitor(
            visitor_id=f"visitor-{chat_id}",
            name="Visitor",
            email=f"visitor{number}@example.com",
            ip=f"198.51.100.{number % 250}",
            browser="Firefox",
            os="Linux",
            language="en",
        ),
        department_id="support",
    )


def _envelope(workspace_id: str, event: e.Event, number: int, at_ms: int) -> e.EventEnvelope:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    envelope: Envelope[str, e.Event] = Envelope(
        "1.0", f"event-{number:08d}-2b7d", "/bench", event.TYPE, at, workspace_id, event
    )
    return envelope
