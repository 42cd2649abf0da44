"""Logs: JSON lines on standard error, by structlog; the standard library's loggers (aiokafka, uvicorn, faust) come the same way.

The one rule: no personal data. Keys that can hold any are dropped, addresses inside other text are blotted out, and of
an exception only type, place and, for those whose text we know, the message are kept.
"""

import logging
import re
import sys
import time
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, TypeAlias

import structlog
from aiokafka.errors import KafkaError

from schemas.codec import Poison
from services.runtime.failures import TaskCorrupted, TaskMigrated, WorkerFailed

Entry: TypeAlias = MutableMapping[str, Any]

REDACTED = "[redacted]"
TEXT_CHARS_MAX = 500
FRAMES_MAX = 12
REPEAT_INTERVAL_S = 1.0
_PRIVATE = (
    "address addresses answer authorization bcc body cc comment content cookie data detail_text "
    "email emails envelope from_address headers html ip key letter location mail message_text "
    "messages name names note password payload phone question raw recipient recipients record "
    "secret sender subject text to token transcript value visitor visitor_name"
)
PRIVATE_KEYS = frozenset(_PRIVATE.split())
"""Keys whose values are never logged, at any depth."""

_ADDRESS = re.compile(r"[^\s<>\"'(),;:=\[\]]+@[^\s<>\"'(),;:\[\]]+")
_SPEAKING_LOUDLY = (
    "aiokafka",
    "kafka",
    "faust",
    "mode",
    "uvicorn",
    "aiosqlite",
    "httpx",
    "httpcore",
    "urllib3",
    "opentelemetry",
    "asyncio",
)
_SAFE_MESSAGES = (TaskCorrupted, TaskMigrated, WorkerFailed, Poison, KafkaError, OSError)
"""Exceptions whose text holds no record's values."""
_CODES = ("sqlite_errorname", "sqlstate")
"""What databases call an error, from a closed list: SQLITE_FULL, 53100 (PostgreSQL's "disk full")."""


def redact(_logger: Any, _method: str, entry: Entry) -> Entry:
    """Drops private keys and blots out e-mail addresses: the structlog processor."""
    return {key: REDACTED if key in PRIVATE_KEYS else _clean(value) for key, value in entry.items()}


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _ADDRESS.sub("[address]", value)[:TEXT_CHARS_MAX]
    if isinstance(value, dict):
        return {key: REDACTED if key in PRIVATE_KEYS else _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    if isinstance(value, bytes | bytearray):
        return REDACTED
    return value


def explain(error: BaseException) -> dict[str, Any]:
    """An exception as it may be logged: type, place, causes; its text only where that can't quote a record."""
    told: dict[str, Any] = {"type": type(error).__name__, "at": _frames(error.__traceback__)}
    if isinstance(error, _SAFE_MESSAGES):
        told["message"] = str(error)
    for name in _CODES:
        if code := getattr(error, name, None):
            told[name] = code
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and cause is not error:
        told["cause"] = explain(cause)
    return told


def reason_of(error: BaseException) -> str:
    """The same for use within a sentence: the type, and the text only where that can't quote a record."""
    kind = type(error).__name__
    return f"{kind}: {error}" if isinstance(error, _SAFE_MESSAGES) and str(error) else kind


def _frames(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-FRAMES_MAX:]
    return [
        f"{frame.filename.rpartition('site-packages/')[2]}:{frame.lineno} {frame.name}" for frame in frames
    ]


def _explain_exception(_logger: Any, _method: str, entry: Entry) -> Entry:
    info = entry.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        entry["error"] = explain(error)
    return entry


class _NowAndThen(logging.Filter):
    """Passes a line of the Kafka client once a second: while a broker is away it writes the same one at every attempt.

    Lines are told apart by their template, so their number is the client's and does not grow.
    """

    def __init__(self) -> None:
        super().__init__()
        self._told_s: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("aiokafka"):
            return True
        line = (record.name, str(record.msg))
        now_s = time.monotonic()
        if now_s - self._told_s.get(line, -REPEAT_INTERVAL_S) < REPEAT_INTERVAL_S:
            return False
        self._told_s[line] = now_s
        return True


def configure_logs(level: str) -> None:
    """Sends all logs of this process, ours and the libraries', to standard error as JSON."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _explain_exception,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_NowAndThen())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=lambda value: type(value).__name__),
            ],
        )
    )
    logging.getLogger().handlers[:] = [handler]
    set_level(level)


def set_level(level: str) -> None:
    """From now on only what is of this level or above is logged."""
    logging.getLogger().setLevel(level)
    for name in _SPEAKING_LOUDLY:
        # Their debug level writes whole records, and their info level a line for every connection.
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # It warns of every benign retry, such as the one after each first write to a partition.
    logging.getLogger("aiokafka.producer.sender").setLevel(logging.ERROR)


def log(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; `name` is the module's."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound
