"""What workers say of what they do outside: mails, CRM entries, the archive.

The one rule: a target is the name of a kind of server or CRM, never an address or a customer.
"""

from typing import Literal, TypeAlias

from services.runtime.series.definition import SLOW_S, Definition

EffectName: TypeAlias = Literal[
    "effects",
    "effect_seconds",
    "effect_retries",
    "effects_repeated",
    "effects_in_flight",
    "effects_undelivered_seconds",
    "effects_parked",
    "effects_waiting_records",
    "effects_waiting_seconds",
    "effects_waiting_left_seconds",
    "circuit_open",
    "crm_requests",
    "crm_pace_wait_seconds",
    "card_fields_unknown",
    "archive_records",
    "archive_unreadable",
    "archive_failures",
    "archive_lag_records",
    "summaries",
]

_KIND = ("kind",)
_TARGET = ("target",)

EFFECTS = (
    Definition(
        "effects",
        "counter",
        "effects",
        "External effects settled: mails by result sent or failed, CRM entries by result done, no_match, refused or failed.",
        ("kind", "result"),
    ),
    Definition(
        "effect_seconds",
        "histogram",
        "seconds",
        "Time one attempt at an external effect took.",
        _KIND,
        SLOW_S,
    ),
    Definition("effect_retries", "counter", "attempts", "Attempts at an effect after the first.", _KIND),
    Definition(
        "effects_repeated",
        "counter",
        "effects",
        "Mails sent again since the answer never came: each may be a doubled mail. A crash in the middle of one is not seen here.",
        _KIND,
    ),
    Definition("effects_in_flight", "gauge", "effects", "External effects being done.", _KIND),
    Definition(
        "effects_undelivered_seconds",
        "gauge",
        "seconds",
        "Age of the oldest record whose effects are not all done: parked, or being handled; 0 when there is none.",
    ),
    Definition(
        "effects_parked",
        "gauge",
        "records",
        "Records kept in the ledger's database until their downstream is back.",
    ),
    Definition(
        "effects_waiting_records",
        "gauge",
        "records",
        "Parked records by what they wait for: a server, a CRM, or `slow` ones.",
        _TARGET,
    ),
    Definition("effects_waiting_seconds", "gauge", "seconds", "Age of the oldest parked record.", _TARGET),
    Definition(
        "effects_waiting_left_seconds",
        "gauge",
        "seconds",
        "Time until the last parked record is done, at the pace of the last minute, of the queue that takes longest; +Inf while nothing "
        "of a queue gets through.",
        _TARGET,
    ),
    Definition(
        "circuit_open",
        "gauge",
        "circuits",
        "Downstreams of this name that are left alone; 0 while all is well.",
        _TARGET,
    ),
    Definition(
        "crm_requests",
        "counter",
        "requests",
        "Requests sent to CRMs, by the connector's method that needed them.",
        ("connector", "operation"),
    ),
    Definition(
        "crm_pace_wait_seconds",
        "histogram",
        "seconds",
        "How long a request waited for its turn under the CRM's rate.",
        ("connector",),
        SLOW_S,
    ),
    Definition(
        "card_fields_unknown",
        "counter",
        "names",
        "Names in layouts of cards that the CRM has no field for, counted when that changes.",
    ),
    Definition("archive_records", "counter", "records", "Records read into the archive."),
    Definition(
        "archive_unreadable", "counter", "records", "Records the archive could not read, passed over."
    ),
    Definition("archive_failures", "counter", "batches", "Batches the archive had to try again."),
    Definition(
        "archive_lag_records",
        "gauge",
        "records",
        "Records the archive has still to read.",
        ("topic", "partition"),
    ),
    Definition(
        "summaries", "counter", "summaries", "Summaries of finished chats, made or given up.", ("result",)
    ),
)
