"""When each alert is silent and when it fires, as promtool asks it: a table of series over minutes.

The one rule: a case has a moment at which the alert must be silent and a later one at which it must fire, and says whom it is about.
Series are written as promtool does: `0x5` is six zeros, a minute apart, `0+2x3` counts 0, 2, 4, 6, and `_` is no sample.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_NOBODY: Mapping[str, str] = MappingProxyType({})
_SENT, _FAILED = 'chat_effects_total{result="sent"}', 'chat_effects_total{result="failed"}'
_REPEATED = "chat_effects_repeated_total"
_IN_TIME = 'chat_decision_latency_seconds_bucket{worker="router",le="1.0"}'
_DECIDED = 'chat_decision_latency_seconds_count{worker="router"}'
_NOTICES = {"worker": "notifier", "topic": "chat.notices.v1"}
_ROUTER = {"worker": "router", "instance": "r:1"}
_DESK = {"workspace": "acme", "department": "sales"}


def _of(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


@dataclass(frozen=True, slots=True)
class Case:
    """`labels` are those of the alert but for its severity; `over` is a later moment at which it is silent again.

    With several installations on one Prometheus each has its alert, but for what is `of_all`.
    """

    alert: str
    series: Mapping[str, str]
    silent: str
    fires: str
    summary: str
    labels: Mapping[str, str] = field(default_factory=lambda: _NOBODY)
    over: str | None = None
    of_all: bool = False


CASES = (
    Case(
        "WorkerDown",
        {f"up{_of({'job': 'chat-routing', **_ROUTER})}": "1x5 0x5 1x5"},
        "6m",
        "7m",
        "router at r:1 does not answer",
        {"job": "chat-routing", **_ROUTER},
        over="12m",
    ),
    Case(
        "WorkerMissing",
        {
            f'up{{job="chat-routing",worker="{worker}"}}': values
            for worker, values in {
                "router": "1x30",
                "notifier": "1x30",
                "transcript": "0x30",
                "crm_sync": "1x5 _x25",
            }.items()
        },
        "8m",
        "20m",
        "Nothing is asked how crm_sync is",
        {"job": "chat-routing", "worker": "crm_sync"},
    ),
    Case(
        "WorkerMissing",
        {'up{job="chat-routing",worker="router"}': "1x5 _x25"},
        "4m",
        "20m",
        "Nothing is asked how the workers are",
        of_all=True,
    ),
    Case(
        "PartitionsNotRunning",
        {
            f"chat_partitions_assigned{_of(_ROUTER)}": "4x20",
            f"chat_partitions_running{_of(_ROUTER)}": "4x5 3x8 4x5",
            'chat_partitions_assigned{worker="notifier",instance="n:1"}': "12x20",
            'chat_partitions_running{worker="notifier",instance="n:1"}': "0x20",
        },
        "10m",
        "11m",
        "router at r:1 has partitions that it can't restore",
        _ROUTER,
        over="15m",
    ),
    Case(
        "EventLoopLate",
        {f"chat_loop_delay_seconds{_of(_ROUTER)}": "0x5 2x10 0x10"},
        "5m",
        "12m",
        "router at r:1 is late by 2s",
        _ROUTER,
        over="25m",
    ),
    Case(
        "LagGrows",
        {
            f"chat_lag_records{_of({**_NOTICES, 'partition': '0'})}": "0x10 0+50x20 0x5",
            f"chat_lag_records{_of({**_NOTICES, 'topic': 'chat.transcripts.v1'})}": "900x40",
        },
        "23m",
        "24m",
        "notifier falls behind: 650 records of chat.notices.v1 wait",
        _NOTICES,
        over="33m",
    ),
    Case(
        "PartitionStalled",
        {
            f"chat_lag_records{_of({**_ROUTER, 'topic': 'chat.events.v1', 'partition': '3'})}": "0x5 7x20",
            f"chat_records_in_total{_of({**_ROUTER, 'topic': 'chat.events.v1', 'partition': '3'})}": "0+10x5 50x9 60x9",
            f"chat_lag_records{_of({**_ROUTER, 'topic': 'chat.events.v1', 'partition': '4'})}": "7x30",
            f"chat_records_in_total{_of({**_ROUTER, 'topic': 'chat.events.v1', 'partition': '4'})}": "0+9x30",
        },
        "9m",
        "12m",
        "router does not move in chat.events.v1, partition 3",
        {**_ROUTER, "topic": "chat.events.v1", "partition": "3"},
        over="17m",
    ),
    Case(
        "WorkFails",
        {f"chat_task_failures_total{_of(_ROUTER)}": "0x5 0+2x5 10x20"},
        "6m",
        "10m",
        "router at r:1 starts over what it has begun",
        _ROUTER,
        over="20m",
    ),
    Case(
        "RebalancesOften",
        {
            f"chat_rebalances_total{_of(_ROUTER)}": "3x5 3+2x3 9x30",
            f"chat_fences_total{_of(_ROUTER)}": "0x40",
        },
        "6m",
        "12m",
        "router at r:1 is given other partitions all the time",
        _ROUTER,
        over="30m",
    ),
    Case(
        "DeadLetters",
        {f"chat_dead_letters_total{_of({'topic': 'chat.events.v1', **_ROUTER})}": "2x20 3x40"},
        "20m",
        "22m",
        "router can't read records of chat.events.v1",
        {"worker": "router", "topic": "chat.events.v1"},
        over="40m",
    ),
    Case(
        "DeadLetters",
        {f"chat_dead_letters_total{_of({'topic': 'chat.events.v1', **_ROUTER})}": "_x5 1x40"},
        "4m",
        "6m",
        "router can't read records of chat.events.v1",
        {"worker": "router", "topic": "chat.events.v1"},
        over="25m",
    ),
    Case(
        "UnknownTypes",
        {f"chat_unknown_types_total{_of(_ROUTER)}": "0x5 3x30"},
        "5m",
        "8m",
        "router passes over records of a type it does not know",
        {"worker": "router"},
        over="25m",
    ),
    Case(
        "RecordsExpired",
        {f"chat_records_expired_total{_of({'topic': 'chat.events.v1', **_ROUTER})}": "_x5 800x100"},
        "4m",
        "6m",
        "Records of chat.events.v1 were deleted before router had read them",
        {"worker": "router", "topic": "chat.events.v1"},
        over="70m",
    ),
    Case(
        "TicksFail",
        {"chat_ticks_total": "0+60x5 300x7 300+60x9", "chat_ticks_failed_total": "0x5 0+10x6 60x10"},
        "5m",
        "10m",
        "Ticks can't be written, so deadlines fire late",
        over="22m",
    ),
    Case(
        "DeadlinesLate",
        {'chat_deadline_lag_seconds{partition="0"}': "0x5 30x10"},
        "7m",
        "8m",
        "A deadline that is due has waited for 30s",
    ),
    Case(
        "CircuitOpen",
        {'chat_circuit_open{worker="notifier",target="smtp"}': "0x5 1x5 0x5"},
        "7m",
        "8m",
        "smtp is away, and notifier leaves it alone",
        {"worker": "notifier", "target": "smtp"},
        over="12m",
    ),
    Case(
        "EffectsOverdue",
        {'chat_effects_undelivered_seconds{worker="notifier"}': "0+60x20 0x5"},
        "15m",
        "16m",
        "Something that notifier must do has waited for 16m 0s",
        {"worker": "notifier"},
        over="21m",
    ),
    Case(
        "ArchiveFails",
        {'chat_archive_failures_total{instance="t:1"}': "0x5 0+1x5 5x20"},
        "6m",
        "10m",
        "The archive's database does not take what is written",
        {"instance": "t:1"},
        over="20m",
    ),
    Case(
        "ArchiveUnreadable",
        {"chat_archive_unreadable_total": "0x5 2x30"},
        "5m",
        "8m",
        "Records are not in the archive, since it can't read them",
        over="25m",
    ),
    Case(
        "ArchiveBehind",
        {'chat_archive_lag_records{topic="chat.events.v1",partition="0"}': "0x5 5000x20 0x5"},
        "20m",
        "21m",
        "The archive has 5000 records of chat.events.v1 still to read",
        {"topic": "chat.events.v1"},
        over="27m",
    ),
    Case(
        "DecisionsLate",
        {_IN_TIME: "0+100x60 6080+80x29", _DECIDED: "0+100x90"},
        "65m",
        "75m",
        "3.562% of the records are decided after more than 1 s",
    ),
    Case(
        "DecisionsLate",
        {_IN_TIME: "_x20 100x40", _DECIDED: "_x20 500x40"},
        "19m",
        "21m",
        "80% of the records are decided after more than 1 s",
    ),
    Case(
        "DecisionsOftenLate",
        {_IN_TIME: "0+100x360 36098+98x240", _DECIDED: "0+100x600"},
        "7h",
        "10h",
        "0.796% of the records are decided after more than 1 s",
    ),
    Case(
        "EffectsLostOrDoubled",
        {_SENT: "0+10x120", _REPEATED: "0x60 0+1x60"},
        "75m",
        "100m",
        "3.776% of mails and CRM entries were given up, or may have been done twice",
    ),
    Case(
        "EffectsOftenLostOrDoubled",
        {_SENT: "0+98x600", _FAILED: "0x360 2+2x240"},
        "3h",
        "10h",
        "0.8057% of mails and CRM entries were given up, or may have been done twice",
    ),
    Case(
        "MissedShare",
        {
            f"chat_chats_finished_total{_of({**_DESK, 'outcome': 'handled'})}": "0+2x100",
            f"chat_chats_finished_total{_of({**_DESK, 'outcome': 'missed'})}": "0x29 0+2x70",
            'chat_chats_finished_total{workspace="quiet",outcome="missed"}': "0x29 0+1x5 5x70",
        },
        "32m",
        "60m",
        "50% of the chats of acme are missed",
        {"workspace": "acme"},
    ),
    Case(
        "ServiceLevelLow",
        {
            f"chat_agent_waits_total{_of({**_DESK, 'result': 'answered', 'within': 'yes'})}": "0+2x200",
            f"chat_agent_waits_total{_of({**_DESK, 'result': 'answered', 'within': 'no'})}": "0x59 0+1x140",
            f"chat_agent_waits_total{_of({**_DESK, 'result': 'abandoned', 'within': 'yes'})}": "0x59 0+1x140",
        },
        "65m",
        "120m",
        "acme answers 50% in time",
        {"workspace": "acme"},
    ),
    Case(
        "ServiceLevelLow",
        {f"chat_agent_waits_total{_of({**_DESK, 'result': 'unanswered', 'within': 'no'})}": "0x59 0+1x140"},
        "65m",
        "120m",
        "acme answers 0% in time",
        {"workspace": "acme"},
    ),
    Case(
        "LongestWait",
        {f"chat_longest_wait_seconds{_of(_DESK)}": "0+60x20"},
        "10m",
        "11m",
        "Somebody waits in sales of acme: 11m 0s",
        _DESK,
    ),
    Case(
        "NobodyAvailable",
        {
            f"chat_waiting_chats{_of(_DESK)}": "3x20",
            f"chat_agents_available{_of(_DESK)}": "1x5 0x8 1x5",
            'chat_waiting_chats{workspace="acme",department="empty"}': "0x20",
        },
        "10m",
        "11m",
        "3 chats wait in sales of acme, where nobody is free",
        _DESK,
        over="15m",
    ),
    Case(
        "ChatsUnaccounted",
        {'chat_chats_unaccounted{instance="r:1"}': "0x5 1x10"},
        "7m",
        "8m",
        "1 chats came and are neither live nor ended, or the other way round",
        {"instance": "r:1"},
    ),
    Case(
        "LittlesLawOff",
        {'chat_queue_unaccounted_seconds{instance="r:1"}': "0x5 12x10"},
        "7m",
        "8m",
        "The books of waiting are off by 12s",
        {"instance": "r:1"},
    ),
)
