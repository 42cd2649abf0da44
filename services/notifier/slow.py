"""Recipients a server takes its time over, so that their mails leave connections for everybody else's.

The one rule: of a server's connections mails to slow recipients hold three quarters at most; what is beyond waits in the parking
(`Away`), in a queue of its own. Recipients are known by their hashes, and only for a while.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from services.runtime.effects import BUSY_RETRY_S, Away

SLOW_AFTER_S = 1.0
"""A mail that is under way for longer has slow recipients."""
REMEMBERED_S = 600.0
"""They are taken to be slow for so long, unless a mail to them is quick."""
REMEMBERED_MAX = 10_000


class SlowLane:
    """The mails to slow recipients of one server; `queue` is where those wait for which there is no connection."""

    def __init__(self, queue: str, *, connections_max: int) -> None:
        self._queue = queue
        self._mails_max = max(1, connections_max * 3 // 4)
        self._mails = 0
        self._until_s: OrderedDict[frozenset[str], float] = OrderedDict()

    def is_slow(self, recipients: frozenset[str]) -> bool:
        """Return whether the last mail to these took long."""
        return self._until_s.get(recipients, 0.0) > asyncio.get_running_loop().time()

    @contextmanager
    def entered(self, recipients: frozenset[str]) -> Iterator[None]:
        """Send a mail to these within it. Raises Away when they are slow and there is no place; then nothing was sent."""
        loop = asyncio.get_running_loop()
        is_slow = self.is_slow(recipients)
        takes_long = False
        if is_slow and self._mails >= self._mails_max:
            raise Away(self._queue, retry_s=BUSY_RETRY_S)
        self._mails += is_slow

        def find_slow() -> None:
            nonlocal is_slow, takes_long
            takes_long = True
            if not is_slow:
                is_slow = True
                self._mails += 1
            self._remember(recipients, until_s=loop.time() + REMEMBERED_S)

        timer = loop.call_later(SLOW_AFTER_S, find_slow)
        try:
            yield
            if not takes_long:
                self._until_s.pop(recipients, None)
        finally:
            timer.cancel()
            self._mails -= is_slow

    def _remember(self, recipients: frozenset[str], *, until_s: float) -> None:
        self._until_s[recipients] = until_s
        self._until_s.move_to_end(recipients)
        if len(self._until_s) > REMEMBERED_MAX:
            self._until_s.popitem(last=False)
