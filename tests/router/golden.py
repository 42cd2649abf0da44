"""Runs one input log of `tests/golden` and prints what the router decides; a program of its own, so the hash seed can be chosen.

The one rule: it is the offline run of `chat-routing replay`, nothing else.
"""

import sys
from pathlib import Path

from services.local.replay import replay
from services.router.records import encode_emitted

FOLDER = Path(__file__).resolve().parent.parent / "golden"


def outcome(log: Path) -> bytes:
    """Return every decision and notice, one a line."""
    return b"".join((encode_emitted(item).value or b"") + b"\n" for item in replay(log))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        sys.stdout.buffer.write(outcome(Path(name)))
