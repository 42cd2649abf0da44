"""Deterministic ids: live and offline runs over one log give every decision, offer and notice the same id.

The one rule: 26 base32 digits of sha256 over workspace, cause and a running number (the contract, Decisions).
"""

from hashlib import sha256
from itertools import product
from typing import Final

_PAIRS: Final = tuple(map("".join, product("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", repeat=2)))
"""Two digits at a time: `base64.b32encode` takes more than twice as long, and every decision has an id."""


def mint(workspace_id: str, cause: str, number: int | str) -> str:
    """The id of the `number`-th thing that follows from `cause` in a workspace."""
    digest = sha256(f"{workspace_id}\x00{cause}\x00{number}".encode()).digest()
    return f"{_eight(digest, 0)}{_eight(digest, 5)}{_eight(digest, 10)}{_PAIRS[digest[15] << 2 | digest[16] >> 6]}"


def _eight(digest: bytes, at: int) -> str:
    """The digits of five bytes; compiled, this is arithmetic of the machine."""
    high = digest[at] << 12 | digest[at + 1] << 4 | digest[at + 2] >> 4
    low = (digest[at + 2] & 15) << 16 | digest[at + 3] << 8 | digest[at + 4]
    return f"{_PAIRS[high >> 10]}{_PAIRS[high & 1023]}{_PAIRS[low >> 10]}{_PAIRS[low & 1023]}"
