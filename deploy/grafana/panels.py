"""What the dashboards show: rows of panels, each with its queries by legend.

The one rule: these are tables; how they become Grafana's JSON stands in `dashboards.py`. `$namespace` (an installation), `$worker`,
`$workspace` and `$department` are chosen on the dashboard.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

INSTALLATION = 'namespace=~"$namespace"'
WORKER = f'{INSTALLATION}, worker=~"$worker"'
ROUTER = f'{INSTALLATION}, worker="router"'
WORKSPACE = f'{INSTALLATION}, workspace=~"$workspace"'
WHERE = f'{WORKSPACE}, department=~"$department"'
SHARES = {"half": 0.5, "95 of 100": 0.95, "99 of 100": 0.99}


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `queries` by legend; a `stat` shows one number as it is now, a `graph` its course."""

    title: str
    about: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: Literal["stat", "graph"] = "graph"


Rows: TypeAlias = Mapping[str, tuple[Panel, ...]]
"""Panels by the title of their row."""


def number(title: str, query: str, about: str, unit: str = "short") -> Panel:
    """One number as it is now."""
    return Panel(title, about, {"": query}, unit, "stat")


def rate(metric: str, by: str, labels: str = WORKER) -> str:
    """How many a second, by a label."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def spread(title: str, metric: str, about: str, labels: str = WORKER) -> Panel:
    """How long something takes: for the quicker half, and for nearly all."""
    buckets = rate(f"{metric}_bucket", "le", labels)
    return Panel(
        title,
        about,
        {legend: f"histogram_quantile({share}, {buckets})" for legend, share in SHARES.items()},
        "s",
    )


def over_half_an_hour(metric: str, matchers: str = "") -> str:
    """How many in the last half hour."""
    return f"sum(increase({metric}{{{WHERE}{', ' if matchers else ''}{matchers}}}[30m]))"


WAITS = "chat_agent_waits_total"
ANSWERED, ABANDONED, WITHIN = 'result="answered"', 'result="abandoned"', ', within="yes"'
ALL = over_half_an_hour(WAITS)
IN_TIME = f"({over_half_an_hour(WAITS, ANSWERED + WITHIN)} or vector(0))"
LEFT = f"({over_half_an_hour(WAITS, ABANDONED)} or vector(0))"
LEFT_SOON = f"({over_half_an_hour(WAITS, ABANDONED + WITHIN)} or vector(0))"
MISSED = over_half_an_hour("chat_chats_finished_total", 'outcome="missed"')
FINISHED = over_half_an_hour("chat_chats_finished_total")

OPERATIONS: Rows = {
    "At a glance": (
        number(
            "Alerts",
            f'count(ALERTS{{alertstate="firing", {INSTALLATION}}}) or vector(0)',
            "Alerts that fire now; docs/operations.md says what to do.",
        ),
        number(
            "Processes",
            f'sum(up{{job="chat-routing", {INSTALLATION}}})',
            "Processes that answer, of all workers.",
        ),
        number(
            "Records a second",
            f"sum(rate(chat_records_in_total{{{WORKER}}}[$__rate_interval]))",
            "Records done by all workers.",
        ),
        number("Lag", f"sum(chat_lag_records{{{WORKER}}})", "Records that wait for any worker."),
        number(
            "Decided late",
            f"max(chat:decisions_late:ratio_rate1h{{{INSTALLATION}}})",
            "Share of the last hour's records that were decided after more than 1 s; 0.5 % is promised.",
            "percentunit",
        ),
        number(
            "Oldest effect",
            f"max(chat_effects_undelivered_seconds{{{INSTALLATION}}})",
            "Age of the oldest mail or CRM entry that is not done.",
            "s",
        ),
    ),
    "Throughput": (
        Panel(
            "Records in",
            "Records done, by worker and topic.",
            {"{{worker}} {{topic}}": rate("chat_records_in_total", "worker, topic")},
        ),
        Panel(
            "Records out",
            "Records written, by worker and topic.",
            {"{{worker}} {{topic}}": rate("chat_records_out_total", "worker, topic")},
        ),
        Panel(
            "Refused or passed over",
            "Dead letters, records of unknown types, and what the archive could not read.",
            {
                "dead letters": f"sum(rate(chat_dead_letters_total{{{WORKER}}}[$__rate_interval]))",
                "unknown types": f"sum(rate(chat_unknown_types_total{{{WORKER}}}[$__rate_interval]))",
                "not in the archive": f"sum(rate(chat_archive_unreadable_total{{{INSTALLATION}}}[$__rate_interval]))",
            },
        ),
    ),
    "Time to decision": (
        spread(
            "Router",
            "chat_decision_latency_seconds",
            "From a record's append to the commit of what follows from it.",
            ROUTER,
        ),
        spread("Batches", "chat_batch_seconds", "Time to decide one batch."),
        spread("Transactions", "chat_transaction_seconds", "Time from begin to commit."),
    ),
    "Partitions": (
        Panel(
            "Lag",
            "Records that wait, by worker and topic.",
            {"{{worker}} {{topic}}": f"sum by (worker, topic) (chat_lag_records{{{WORKER}}})"},
        ),
        Panel(
            "Lag of the five worst partitions",
            "One partition alone that grows stands still, or has one workspace with much to do.",
            {"{{worker}} {{topic}} {{partition}}": f"topk(5, chat_lag_records{{{WORKER}}})"},
        ),
        Panel(
            "Assigned and running",
            "A router's or transcript worker's partition runs once it is restored.",
            {
                "{{worker}} assigned": f"sum by (worker) (chat_partitions_assigned{{{WORKER}}})",
                "{{worker}} running": f"sum by (worker) (chat_partitions_running{{{WORKER}}})",
            },
        ),
        Panel(
            "Rebalances, fences, failures",
            "In ten minutes: assignments received, zombies found, transactions or handlers that failed.",
            {
                "{{worker}} rebalances": f"sum by (worker) (increase(chat_rebalances_total{{{WORKER}}}[10m]))",
                "{{worker}} fences": f"sum by (worker) (increase(chat_fences_total{{{WORKER}}}[10m]))",
                "{{worker}} failures": f"sum by (worker) (increase(chat_task_failures_total{{{WORKER}}}[10m]))",
            },
        ),
        Panel(
            "Restores",
            "From fencing to running of a partition, of all restores since each process began: too few for a rate.",
            {
                legend: f"histogram_quantile({share}, sum by (le) (chat_restore_seconds_bucket{{{WORKER}}}))"
                for legend, share in SHARES.items()
            },
            "s",
        ),
        Panel(
            "Ticks and deadlines",
            "Ticks written and failed a second, and how long a due deadline has waited.",
            {
                "ticks": f"sum(rate(chat_ticks_total{{{INSTALLATION}}}[$__rate_interval]))",
                "failed": f"sum(rate(chat_ticks_failed_total{{{INSTALLATION}}}[$__rate_interval]))",
                "oldest due deadline, seconds": f"max(chat_deadline_lag_seconds{{{INSTALLATION}}})",
            },
        ),
    ),
    "Mails and CRM": (
        Panel(
            "Settled",
            "Mails and CRM entries a second, by what became of them.",
            {"{{kind}} {{result}}": rate("chat_effects_total", "kind, result")},
        ),
        Panel(
            "Time of an attempt",
            "How long nearly all attempts take, by kind.",
            {"{{kind}}": f"histogram_quantile(0.95, {rate('chat_effect_seconds_bucket', 'le, kind')})"},
            "s",
        ),
        Panel(
            "Tried again, perhaps doubled",
            "Attempts after the first a second, and mails sent again that may have arrived.",
            {
                "{{kind}} tried again": rate("chat_effect_retries_total", "kind"),
                "{{kind}} perhaps doubled": rate("chat_effects_repeated_total", "kind"),
            },
        ),
        Panel(
            "Waiting",
            "Records parked until what they wait for is back.",
            {"{{target}}": f"sum by (target) (chat_effects_waiting_records{{{WORKER}}})"},
        ),
        Panel(
            "Age of the oldest",
            "How long the oldest parked record has waited.",
            {"{{target}}": f"max by (target) (chat_effects_waiting_seconds{{{WORKER}}})"},
            "s",
        ),
        Panel(
            "Circuits",
            "Servers and CRMs that are left alone: 0 while all is well.",
            {"{{worker}} {{target}}": f"max by (worker, target) (chat_circuit_open{{{WORKER}}})"},
        ),
        Panel(
            "Requests to CRMs",
            "A second, by connector and what needed them.",
            {"{{connector}} {{operation}}": rate("chat_crm_requests_total", "connector, operation")},
        ),
    ),
    "Archive and process": (
        Panel(
            "Archive's lag",
            "Records the archive has still to read.",
            {"{{topic}}": f"sum by (topic) (chat_archive_lag_records{{{INSTALLATION}}})"},
        ),
        Panel(
            "Archive",
            "Records read and batches tried again, a second.",
            {
                "records": f"sum(rate(chat_archive_records_total{{{INSTALLATION}}}[$__rate_interval]))",
                "tried again": f"sum(rate(chat_archive_failures_total{{{INSTALLATION}}}[$__rate_interval]))",
            },
        ),
        Panel(
            "Summaries",
            "Of finished chats, a second.",
            {
                "{{result}}": f"sum by (result) (rate(chat_summaries_total{{{INSTALLATION}}}[$__rate_interval]))"
            },
        ),
        Panel(
            "Event loop",
            "How late a worker gets to its work.",
            {"{{worker}} {{instance}}": f"chat_loop_delay_seconds{{{WORKER}}}"},
            "s",
        ),
    ),
}

CONTACT_CENTRE: Rows = {
    "Now": (
        number("Waiting", f"sum(chat_waiting_chats{{{WHERE}}})", "Chats in a queue, rung ones too."),
        number(
            "Longest wait", f"max(chat_longest_wait_seconds{{{WHERE}}})", "Of the chats that wait now.", "s"
        ),
        number(
            "Live",
            f"sum(chat_chats_live{{{WHERE}}})",
            "Chats that go on: with a bot, waiting, or with an agent.",
        ),
        number(
            "Agents with room",
            f'sum(chat_agents{{{WORKSPACE}, standing="room"}})',
            "Online and able to take one more chat; each agent counts once.",
        ),
        number(
            "Occupancy",
            f"sum(chat_agent_load{{{WORKSPACE}}}) / sum(chat_agent_capacity{{{WORKSPACE}}})",
            "How much of what all agents online can carry is taken.",
            "percentunit",
        ),
        number(
            "Missed",
            f"({MISSED} or vector(0)) / {FINISHED}",
            "Share of the chats of the last half hour.",
            "percentunit",
        ),
    ),
    "Service level of the last half hour": (
        number(
            "Abandoned counted",
            f"{IN_TIME} / {ALL}",
            "Answered within the threshold, of all who waited: who left counts as not answered in time.",
            "percentunit",
        ),
        number(
            "Short abandons ignored",
            f"{IN_TIME} / ({ALL} - {LEFT_SOON})",
            "Answered within the threshold, of all who waited but for those who left within it.",
            "percentunit",
        ),
        number(
            "Abandonment",
            f"{LEFT} / {ALL}",
            "Visitors who left before an agent answered, of all who waited.",
            "percentunit",
        ),
        number(
            "Threshold", f"max(chat_service_level_seconds{{{INSTALLATION}}})", "CHAT_SERVICE_LEVEL_S.", "s"
        ),
    ),
    "Chats": (
        Panel(
            "Arrived and finished",
            "A second, by outcome.",
            {
                "arrived": f"sum(rate(chat_chats_arrived_total{{{WHERE}}}[$__rate_interval]))",
                "{{outcome}}": rate("chat_chats_finished_total", "outcome", WHERE),
            },
        ),
        Panel(
            "Live",
            "Chats that go on, by phase.",
            {"{{phase}}": f"sum by (phase) (chat_chats_live{{{WHERE}}})"},
        ),
        Panel(
            "Missed",
            "A second, by reason and detail.",
            {"{{reason}} {{detail}}": rate("chat_chats_missed_total", "reason, detail", WHERE)},
        ),
    ),
    "Waiting": (
        Panel(
            "Waiting chats",
            "By department.",
            {
                "{{workspace}} {{department}}": f"sum by (workspace, department) (chat_waiting_chats{{{WHERE}}})"
            },
        ),
        Panel(
            "Longest wait",
            "By department.",
            {
                "{{workspace}} {{department}}": f"max by (workspace, department) (chat_longest_wait_seconds{{{WHERE}}})"
            },
            "s",
        ),
        spread(
            "Time to answer",
            "chat_answer_seconds",
            "How long answered chats waited for their first agent.",
            WHERE,
        ),
        Panel("Waits that ended", "A second, by how.", {"{{result}}": rate(WAITS, "result", WHERE)}),
        spread(
            "Announced waits were off by",
            "chat_estimated_wait_error_seconds",
            "How far an announced waiting time was from the real one.",
            ROUTER,
        ),
        Panel(
            "Books",
            "Both must be 0: chats that came and are neither live nor ended, and waiting that does not add up (Little's law).",
            {
                "chats": f"sum(chat_chats_unaccounted{{{INSTALLATION}}})",
                "chat-seconds": f"sum(chat_queue_unaccounted_seconds{{{INSTALLATION}}})",
            },
        ),
    ),
    "Agents": (
        Panel(
            "Agents by standing",
            "Each counts once.",
            {"{{standing}}": f"sum by (standing) (chat_agents{{{WORKSPACE}}})"},
        ),
        Panel(
            "Agents with room",
            "By department; who is in several counts in each.",
            {
                "{{workspace}} {{department}}": f"sum by (workspace, department) (chat_agents_available{{{WHERE}}})"
            },
        ),
        Panel(
            "Occupancy",
            "Load by capacity.",
            {
                "{{workspace}}": f"sum by (workspace) (chat_agent_load{{{WORKSPACE}}}) / sum by (workspace) (chat_agent_capacity{{{WORKSPACE}}})"
            },
            "percentunit",
        ),
        Panel(
            "Offers",
            "Agents asked a second, by what became of it.",
            {"{{result}}": rate("chat_offers_total", "result", WHERE)},
        ),
        Panel(
            "Offers made", "A second, by kind.", {"{{kind}}": rate("chat_offers_made_total", "kind", WHERE)}
        ),
        Panel(
            "Transfers",
            "Agents' transfers a second by result, and bots' requests for a person that came to nothing.",
            {
                "{{result}}": rate("chat_transfers_total", "result", WHERE),
                "from a bot: {{reason}}": rate("chat_bot_transfers_failed_total", "reason", WHERE),
            },
        ),
    ),
}
