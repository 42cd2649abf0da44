"""What workers with side effects can be told beyond what every worker can; each is an environment variable named `CHAT_…`."""

from pydantic import Field

from services.runtime.settings import RuntimeSettings


class EffectSettings(RuntimeSettings):
    """How long a downstream is left alone, and how much may wait for it meanwhile."""

    circuit_open_ms: int = Field(
        default=10_000,
        ge=10,
        description="how long a server that failed five times in a row is left alone before it is tried again",
    )
    slot_limit_ms: int = Field(
        default=5_000,
        ge=10,
        description="how long an effect may hold up others; then it goes on beside them, kept in the ledger's database",
    )
    parked_records_max: int = Field(
        default=100_000,
        ge=0,
        description="records that may wait in the ledger's database for servers that are away; beyond it, their partitions wait",
    )
