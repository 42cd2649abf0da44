"""Field types with their limits, shared by every event: one place for "an id is 1-128 characters".

All times inside the services are integer milliseconds since the epoch; settings carry seconds, as the contract does.
"""

from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

TEXT_CHARS_MAX = 16 * 1024
QUESTION_CHARS_MAX = 4 * 1024
BULK_IDS_MAX = 1_000
LIST_ITEMS_MAX = 10_000
SECONDS_MAX = 30 * 24 * 3600


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("an IANA time zone such as Asia/Tokyo was expected") from None
    return name


MAPPED_PREFIX = 96
"""IPv6 addresses below ::ffff:0:0/96 are IPv4 ones, as some servers write them (RFC 4291, section 2.5.5.2)."""


def _network(text: str) -> str:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("an IP address or a CIDR range was expected") from None
    if isinstance(network, IPv6Network) and network.prefixlen >= MAPPED_PREFIX:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            network = IPv4Network((mapped, network.prefixlen - MAPPED_PREFIX))
    return str(network)


WITHOUT_NUL = r"^[^\x00]*$"
"""PostgreSQL takes no NUL character in any text, so a record that holds one is refused at the edge, where that can be told."""

Id = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=WITHOUT_NUL)]
Name = Annotated[str, StringConstraints(max_length=256, pattern=WITHOUT_NUL)]
Text = Annotated[str, StringConstraints(max_length=TEXT_CHARS_MAX, pattern=WITHOUT_NUL)]
Question = Annotated[str, StringConstraints(max_length=QUESTION_CHARS_MAX, pattern=WITHOUT_NUL)]
Address = Annotated[str, StringConstraints(max_length=320, pattern=WITHOUT_NUL)]
Addresses = Annotated[str, StringConstraints(max_length=4_096, pattern=WITHOUT_NUL)]
Moment = Annotated[
    AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9000, 1, 1, tzinfo=UTC))
]
"""A time that stays a time in every zone and in milliseconds; some publishers write year 1 for "none"."""
Clock = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Day = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Zone = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_known_zone)]
Network = Annotated[str, StringConstraints(max_length=64), AfterValidator(_network)]
Seconds = Annotated[float, Field(ge=0, le=SECONDS_MAX, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Capacity = Annotated[int, Field(ge=0, le=1_000)]
Ids = Annotated[tuple[Id, ...], Field(max_length=LIST_ITEMS_MAX)]
BulkIds = Annotated[tuple[Id, ...], Field(min_length=1, max_length=BULK_IDS_MAX)]

Language = Literal["ja", "en"]
Channel = Literal["web", "facebook", "whatsapp", "line", "telegram", "email"]
Visibility = Literal["public", "private"]
Role = Literal["admin", "supervisor", "agent"]
Status = Literal["online", "away", "offline"]
CrmRight = Literal["none", "user", "admin"]
SenderKind = Literal["visitor", "agent", "bot", "trigger", "system"]
Mode = Literal["offer", "ring_all", "auto"]
Strategy = Literal["least_loaded", "round_robin", "longest_idle", "tiers"]
OfferKind = Literal["new", "bot_transfer", "transfer", "invite"]
WithdrawReason = Literal[
    "declined",
    "timed_out",
    "accepted_elsewhere",
    "visitor_left",
    "agent_offline",
    "agent_away",
    "agent_removed",
    "chat_ended",
    "chat_missed",
    "department_changed",
]
UnassignReason = Literal["no_first_reply", "agent_offline", "agent_removed", "transferred"]
MissedReason = Literal[
    "transfer_declined", "transfer_not_attended", "no_agent_message", "visitor_left", "no_reply"
]
MissedDetail = Literal["timed_out", "after_hours", "queue_full", "department_unavailable"]
MissedTag = Literal["unattended", "bot_transfer_failed"]
MissedStatus = Literal["open", "assigned", "closed", "deleted"]
BotTransferFailure = Literal[
    "declined", "no_answer", "no_agent_available", "visitor_left", "after_hours", "queue_full"
]
Outcome = Literal["handled", "handled_by_bot", "missed"]
RefusalCode = Literal[
    "offer_not_open",
    "not_permitted",
    "not_owner",
    "visitor_blocked",
    "visitor_email_unknown",
    "channel_disabled",
    "unknown_chat",
    "unknown_agent",
    "unknown_department",
    "agent_unavailable",
    "department_unavailable",
    "chat_not_live",
    "chat_not_missed",
    "chat_already_exists",
    "already_a_customer",
    "limit_exceeded",
]
Audience = Literal["visitor", "agents", "owner", "supervisors"]
CHANNELS: tuple[Channel, ...] = ("web", "facebook", "whatsapp", "line", "telegram", "email")
