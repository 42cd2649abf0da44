"""Texts as they are compared.

The one rule: what is searched and what is searched for go through `folded`.
"""

from collections.abc import Iterable, Iterator
from typing import Any
from unicodedata import normalize


def folded(written: str) -> str:
    """A text with compatible forms (NFKC) and cases as one, white space as one blank."""
    return " ".join(normalize("NFKC", normalize("NFKC", written).casefold()).split())


def searched(question: str | None, said: Iterable[tuple[bool, str]]) -> Iterator[dict[str, Any]]:
    """What is searched of a transcript's part: what everybody may read, and the whispers (internal messages), where there are any."""
    lines: dict[bool, list[str]] = {False: [] if question is None else [folded(question)], True: []}
    for internal, written in said:
        lines[internal].append(folded(written))
    for internal, found in lines.items():
        if found:
            yield {"internal": internal, "folded": "\n".join(found)}
