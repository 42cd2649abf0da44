"""Deterministic ids: live and offline runs over one log give every decision, offer and notice the same id.

The one rule: 26 base32 digits of sha256 over workspace, cause and a running number (the contract, Decisions).
"""

from base64 import b32encode
from hashlib import sha256

ID_DIGITS = 26


def mint(workspace_id: str, cause: str, number: int | str) -> str:
    """The id of the `number`-th thing that follows from `cause` in a workspace."""
    digest = sha256(f"{workspace_id}\x00{cause}\x00{number}".encode()).digest()
    return b32encode(digest[:20])[:ID_DIGITS].decode()
