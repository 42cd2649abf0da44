"""What the router says of chats and agents. A workspace is in one partition, and each partition tells of its own: add up over workers.

The one rule: a workspace or a department is named only up to a limit (`CHAT_METRICS_WORKSPACES_MAX`, `CHAT_METRICS_DEPARTMENTS_MAX`)
and only if its id is plain; all others are `other` together. Times are the log's, never a worker's clock.

An agent who has taken a chat has answered it. Service level has two formulas in the field, which differ in visitors who leave soon (Cisco
calls them "abandoned calls negative impact" and "ignore abandoned calls"). With `waits` for `agent_waits`, and the sum over its results:

    service level, abandons counted         answered within / all
    service level, short abandons ignored   answered within / (all − abandoned within)
    abandonment                             abandoned / all

Little's law: the chats that wait on average (the rate of `queue_chat_seconds`) are those that leave a queue in a second (the rate of
`queue_left`) times what they waited on average: the rate of `queue_wait_seconds`, in the long run.
"""

from typing import Literal, TypeAlias

from services.runtime.series.definition import WAITS_S, Definition

ChatName: TypeAlias = Literal[
    "chats_arrived",
    "chats_finished",
    "chats_live",
    "chats_missed",
    "chats_unaccounted",
    "waiting_chats",
    "longest_wait_seconds",
    "agents_available",
    "agents",
    "agent_capacity",
    "agent_load",
    "offers_made",
    "offers",
    "agent_waits",
    "answer_seconds",
    "service_level_seconds",
    "bot_transfers_failed",
    "transfers",
    "queue_chat_seconds",
    "queue_left",
    "queue_wait_seconds",
    "queue_age_seconds",
    "queue_unaccounted_seconds",
    "estimated_wait_error_seconds",
]

_WHERE = ("workspace", "department")

CHATS = (
    Definition(
        "chats_arrived",
        "counter",
        "chats",
        "Chats accepted, and chats reopened: each must get one outcome.",
        _WHERE,
    ),
    Definition(
        "chats_finished",
        "counter",
        "chats",
        "Chats closed, by outcome: handled, handled_by_bot or missed.",
        (*_WHERE, "outcome"),
    ),
    Definition(
        "chats_live",
        "level",
        "chats",
        "Chats that go on, by phase: bot, waiting or owned.",
        (*_WHERE, "phase"),
    ),
    Definition(
        "chats_missed",
        "counter",
        "chats",
        "Chats missed, by the contract's reason, and by its detail where the reason has one.",
        (*_WHERE, "reason", "detail"),
    ),
    Definition(
        "chats_unaccounted",
        "level",
        "chats",
        "How far arrivals are from outcomes and live chats since each partition was taken over, in either direction: 0, or chats were lost "
        "or doubled.",
    ),
    Definition("waiting_chats", "level", "chats", "Chats in a queue, rung ones too.", _WHERE),
    Definition(
        "longest_wait_seconds",
        "peak",
        "seconds",
        "For how long the chat that has been in its queue the longest has been there; 0 when none waits.",
        _WHERE,
    ),
    Definition(
        "agents_available",
        "level",
        "agents",
        "Agents of the department who are online and have room; who is in several counts in each.",
        _WHERE,
    ),
    Definition(
        "agents",
        "level",
        "agents",
        "Agents of the workspace, each once, by standing: room, full, away or offline.",
        ("workspace", "standing"),
    ),
    Definition(
        "agent_capacity",
        "level",
        "slots",
        "What all agents who are online can carry at a time, in channel costs.",
        ("workspace",),
    ),
    Definition(
        "agent_load",
        "level",
        "slots",
        "How much of it is taken, by chats, wrap-ups and one-by-one offers. Occupancy is load by capacity.",
        ("workspace",),
    ),
    Definition(
        "offers_made",
        "counter",
        "offers",
        "Agents asked to take or join a chat, by kind: new, bot_transfer, transfer or invite.",
        (*_WHERE, "kind"),
    ),
    Definition(
        "offers",
        "counter",
        "offers",
        "What became of it, agent by agent: accepted, declined, timed_out, or the reason of the withdrawal.",
        (*_WHERE, "result"),
    ),
    Definition(
        "agent_waits",
        "counter",
        "chats",
        "First waits for an agent that ended: answered, abandoned (the visitor left) or unanswered; `within`: yes or no, whether they lasted "
        "no longer than the service level's threshold. Chats turned away at the door never waited.",
        (*_WHERE, "result", "within"),
    ),
    Definition(
        "answer_seconds",
        "histogram",
        "seconds",
        "How long answered chats waited for their first agent.",
        _WHERE,
        WAITS_S,
    ),
    Definition(
        "service_level_seconds",
        "peak",
        "seconds",
        "The service level's threshold, `CHAT_SERVICE_LEVEL_S`.",
    ),
    Definition(
        "bot_transfers_failed",
        "counter",
        "transfers",
        "Bots' requests for a person that came to nothing, by reason.",
        (*_WHERE, "reason"),
    ),
    Definition(
        "transfers",
        "counter",
        "transfers",
        "Agents' transfers by result: taken or failed; the department is the chat's after it.",
        (*_WHERE, "result"),
    ),
    Definition("queue_chat_seconds", "counter", "chat-seconds", "Chats in queues, summed up over time."),
    Definition("queue_left", "counter", "chats", "Chats that left a queue, for whatever reason."),
    Definition("queue_wait_seconds", "counter", "seconds", "How long these had been in it, summed up."),
    Definition(
        "queue_age_seconds",
        "level",
        "seconds",
        "How long the chats that are in a queue now have been there, summed up.",
    ),
    Definition(
        "queue_unaccounted_seconds",
        "level",
        "seconds",
        "How far the chats in queues, summed up over time since each partition was taken over, are from the waits of those that left and of "
        "those that are there: Little's law; 0, or the books of waiting are wrong.",
    ),
    Definition(
        "estimated_wait_error_seconds",
        "histogram",
        "seconds",
        "How far an announced waiting time was from the real one.",
        (),
        WAITS_S,
    ),
)
