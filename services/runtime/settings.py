"""Settings every worker has; each is an environment variable named `CHAT_…`.

The one rule: every queue, wait, batch and retry of the runtime has its limit here, so that one place says what may grow.
"""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from services.runtime.connection import PREFIX, KafkaSettings, secret_of

METRICS_TOKEN_CHARS_MIN = 16


class RuntimeSettings(KafkaSettings):
    """What a worker of any kind can be told. A worker's own settings class derives from it and sets `group` and `http_port`."""

    group: str = Field(
        default="chat", min_length=1, description="consumer group, and stem of the transactional ids"
    )
    instance_id: str | None = Field(
        default=None,
        min_length=1,
        description="static membership: a name of this process that survives its restart; never two processes with one name",
    )
    http_host: str = Field(
        default="127.0.0.1", description="address of /metrics, /healthz, /readyz and the worker's own pages"
    )
    http_port: int = Field(default=0, ge=0, le=65_535, description="port of these pages (0: any free one)")
    metrics_token: SecretStr | None = Field(
        default=None,
        min_length=METRICS_TOKEN_CHARS_MIN,
        description="what a reader of /metrics has to bring as its bearer token; without one they are shown on loopback only",
    )
    metrics_token_file: Path | None = Field(default=None, description="a file that holds this token")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="least level that is logged"
    )
    tracing_url: str | None = Field(
        default=None,
        description="where spans of traces go, OTLP over HTTP, such as http://localhost:4318/v1/traces; without it there are none",
    )
    grace_s: float = Field(
        default=16.0,
        gt=0,
        description="how long a stop, by SIGTERM or a failure, may take before the process ends anyway",
    )

    session_timeout_ms: int = Field(
        default=6_000, ge=1_000, description="after so much silence a worker's partitions go to others"
    )
    fetch_max_wait_ms: int = Field(
        default=20, ge=1, le=1_000, description="how long a broker may hold a fetch that finds nothing"
    )
    batch_records_max: int = Field(
        default=2_000, ge=1, description="records of one partition in one transaction at most"
    )
    transactions_max: int = Field(
        default=3,
        ge=1,
        description="partitions that have a transaction at a time; others meanwhile collect larger batches",
    )
    inbox_bytes_max: int = Field(
        default=4 * 1024 * 1024, ge=1, description="fetched and not yet processed, for each partition"
    )
    commit_interval_ms: int = Field(
        default=5_000, ge=1, description="how long offsets of records without effect may stay uncommitted"
    )
    drain_partitions: int | None = Field(
        default=None,
        ge=1,
        description="after somebody has added partitions by hand: how many there were; the worker then processes what lies in these, without "
        "ticks, so that `chat-routing grow` can move their state",
    )
    io_limit_s: float = Field(
        default=10.0, gt=0, description="how long a commit, a delivery or a look-up may take"
    )
    start_limit_s: float = Field(
        default=30.0, gt=0, description="how long taking a partition over may wait for Kafka"
    )
    stop_limit_s: float = Field(
        default=12.0,
        gt=0,
        description="how long a producer may take to close before the process ends; less than `CHAT_GRACE_S`",
    )
    stall_limit_s: float = Field(
        default=120.0,
        gt=0,
        description="a partition with waiting records and no progress for so long ends the process",
    )
    failures_max: int = Field(
        default=30, ge=1, description="failures of one partition in a row after which the process ends"
    )
    fences_max: int = Field(
        default=5,
        ge=1,
        description="fencings of one partition within 20 session time-outs after which it ends",
    )
    dead_letters_per_minute_max: int = Field(
        default=300, ge=0, description="dead letters in a minute after which the worker stops"
    )

    @field_validator("tracing_url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "http://none")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ValueError(
                "a collector's address such as http://localhost:4318/v1/traces was expected, without user and password"
            )
        return url

    @model_validator(mode="after")
    def _metrics_have_one_token(self) -> Self:
        if self.metrics_token is not None and self.metrics_token_file is not None:
            raise ValueError("set either CHAT_METRICS_TOKEN or CHAT_METRICS_TOKEN_FILE")
        try:
            token = self.metrics_secret
        except (OSError, UnicodeDecodeError):
            raise ValueError("CHAT_METRICS_TOKEN_FILE can't be read") from None
        if token is not None and len(token) < METRICS_TOKEN_CHARS_MIN:
            raise ValueError(f"the token of /metrics needs at least {METRICS_TOKEN_CHARS_MIN} characters")
        return self

    @property
    def metrics_secret(self) -> str | None:
        """The token of /metrics, from wherever it is kept."""
        return secret_of(self.metrics_token, self.metrics_token_file)

    @model_validator(mode="after")
    def _a_hanging_client_is_told_of(self) -> Self:
        if self.stop_limit_s >= self.grace_s:
            raise ValueError(
                "CHAT_STOP_LIMIT_S must be less than CHAT_GRACE_S, or a producer that hangs while it is closed takes the "
                "whole grace time, and nothing says which one it was."
            )
        return self

    @property
    def heartbeat_interval_ms(self) -> int:
        """Six heartbeats fit into a session, so that a few may be lost."""
        return max(100, self.session_timeout_ms // 6)


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name}".upper()


def told(error: ValidationError) -> list[str]:
    """What is wrong with settings, a line for each that can't be used, without its value."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    names = ["_".join(map(str, problem["loc"])) for problem in problems]
    return [
        f"{variable_of(name)}: {problem['msg']}" if name else problem["msg"]
        for name, problem in zip(names, problems, strict=True)
    ]
