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


def mint(workspace_id: str, cause: str, number: int | str) -> str:
    """The id of the `number`-th thing that follows from `cause` in a workspace."""
    digest = sha256(f"{workspace_id}\x00{cause}\x00{number}".encode()).digest()
    bits = int.from_bytes(digest[:_BYTES])
    t = _TRIPLES
    # Written out: a loop over the shifts takes half as long again, for every decision.
    return (
        f"{t[bits >> 121]}{t[bits >> 106 & 32767]}{t[bits >> 91 & 32767]}{t[bits >> 76 & 32767]}{t[bits >> 61 & 32767]}"
        f"{t[bits >> 46 & 32767]}{t[bits >> 31 & 32767]}{t[bits >> 16 & 32767]}{t[bits >> 1 & 32767]}"
    )[:ID_DIGITS]
