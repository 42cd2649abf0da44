"""Deterministic ids: live and offline runs over one log give every decision, offer and notice the same id.

The one rule: 26 base32 digits of sha256 over workspace, cause and a running number (the contract, Decisions).
"""

from hashlib import sha256
from itertools import product

ID_DIGITS = 26
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_PAIRS = tuple(map("".join, product(_ALPHABET, repeat=2)))
"""Two digits at a time: `base64.b32encode` takes twice as long, and every decision has an id."""
_PAIR_BITS = 10
_SHIFTS = tuple(range((ID_DIGITS // 2 - 1) * _PAIR_BITS, -1, -_PAIR_BITS))
_UNUSED_BITS = 256 - ID_DIGITS // 2 * _PAIR_BITS


def mint(workspace_id: str, cause: str, number: int | str) -> str:
    """The id of the `number`-th thing that follows from `cause` in a workspace."""
    digest = sha256(f"{workspace_id}\x00{cause}\x00{number}".encode()).digest()
    bits = int.from_bytes(digest) >> _UNUSED_BITS
    return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])
