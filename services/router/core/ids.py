"""Deterministic ids: live and offline runs over one log give every decision, offer and notice the same id.

The one rule: 26 base32 digits of sha256 over workspace, cause and a running number (the contract, Decisions).
"""

from hashlib import sha256
from itertools import product

ID_DIGITS = 26
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_TRIPLES = tuple(map("".join, product(_ALPHABET, repeat=3)))
"""Three digits at a time: `base64.b32encode` takes more than twice as long, and every decision has an id."""
_BYTES = 17
"""As many as hold the digits; one more digit is in them, and a bit."""
_TRIPLE_BITS = 15
_SHIFTS = tuple(range(_BYTES * 8 - _TRIPLE_BITS, 0, -_TRIPLE_BITS))


def mint(workspace_id: str, cause: str, number: int | str) -> str:
    """The id of the `number`-th thing that follows from `cause` in a workspace."""
    digest = sha256(f"{workspace_id}\x00{cause}\x00{number}".encode()).digest()
    bits = int.from_bytes(digest[:_BYTES])
    return "".join([_TRIPLES[bits >> shift & 32767] for shift in _SHIFTS])[:ID_DIGITS]
