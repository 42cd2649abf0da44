"""The wall clock, as the shells of the workers read it; no core does."""

import time


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
