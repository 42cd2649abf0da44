"""A whole frontend in one file: a visitor asks, an agent is offered the chat, accepts, answers and ends it.

Start the service (`chat-routing up`, which prints its Kafka's address), then run it: python docs/examples/frontend.py HOST:PORT
"""

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

WORKSPACE = f"example-{uuid.uuid4().hex[:8]}"  # yours has a fixed name; this one makes every run of the example a new one
AGENT, DEPARTMENT, CHAT = "hanako", "support", f"chat-{uuid.uuid4().hex}"
PATIENCE_S = 60


async def publish(producer: AIOKafkaProducer, kind: str, **data: Any) -> None:
    """Publish one event. The key is the workspace: it keeps the events of one workspace in order."""
    event = {
        "specversion": "1.0",
        "id": uuid.uuid4().hex,  # the same (source, id) again changes nothing, so a retry is safe
        "source": "/frontends/example",
        "type": kind,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "workspaceid": WORKSPACE,
        "data": data,
    }
    await producer.send_and_wait("chat.events.v1", json.dumps(event).encode(), key=WORKSPACE.encode())


async def decisions(consumer: AIOKafkaConsumer) -> AsyncIterator[dict[str, Any]]:
    """Give our workspace's decisions that the agent may see."""
    async for record in consumer:
        if record.key == WORKSPACE.encode():
            decision = json.loads(record.value)
            if is_for_agent(decision):
                yield decision


def is_for_agent(decision: dict[str, Any]) -> bool:
    """Filter by `audience` before showing a decision; what is about a monitor is for the monitor's owner alone."""
    data = decision["data"]
    if decision["type"].startswith("monitor.") or data.get("role") == "monitor":
        return AGENT in (data.get("owner_agent_id"), data.get("agent_id"))
    return decision["audience"] in ("agents", "owner")  # the only chat here is the agent's own


async def configure(producer: AIOKafkaProducer) -> None:
    """Settings are events too, each a whole snapshot; an admin tool publishes them once, not with every chat."""
    await publish(producer, "workspace.configured.v1", name="Example", timezone="Asia/Tokyo", language="ja")
    await publish(producer, "agent.configured.v1", agent_id=AGENT, name="花子", max_chats=2)
    await publish(
        producer, "department.configured.v1", department_id=DEPARTMENT, name="Support", agent_ids=[AGENT]
    )


async def chat(producer: AIOKafkaProducer, consumer: AIOKafkaConsumer) -> None:
    """Act the visitor and the agent, and print each decision about them."""
    await configure(producer)
    await publish(producer, "agent.presence.v1", agent_id=AGENT, status="online")
    await publish(
        producer,
        "chat.requested.v1",
        chat_id=CHAT,
        channel="web",
        question="届け先を変更できますか。",
        visitor={"visitor_id": "v-1", "name": "太郎"},
        department_id=DEPARTMENT,
    )
    async for decision in decisions(consumer):
        data = decision["data"]
        print(decision["type"], json.dumps(data, ensure_ascii=False))
        match decision["type"]:
            case "chat.offered.v1" if AGENT in data["agent_ids"]:
                await publish(
                    producer, "offer.accepted.v1", offer_id=data["offer_id"], chat_id=CHAT, agent_id=AGENT
                )
            case "chat.assigned.v1" if data["agent_id"] == AGENT:
                sender = {"kind": "agent", "id": AGENT}
                await publish(
                    producer,
                    "chat.message.v1",
                    chat_id=CHAT,
                    message_id=uuid.uuid4().hex,
                    sender=sender,
                    text="はい、承ります。",
                )
                await publish(producer, "chat.end_requested.v1", chat_id=CHAT, by=sender)
            case "request.refused.v1":
                sys.exit(f"refused: {data['code']}: {data['message']}")
            case "chat.closed.v1":
                return


async def main(bootstrap: str) -> None:
    """Connect, and have one chat."""
    # Decisions are written in transactions: read_committed shows only those that stand.
    consumer = AIOKafkaConsumer(
        "chat.routing.v1",
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="latest",
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    async with asyncio.timeout(PATIENCE_S), consumer, producer:
        for partition in consumer.assignment():
            await consumer.position(partition)  # from here on nothing is missed
        await chat(producer, consumer)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092"))
