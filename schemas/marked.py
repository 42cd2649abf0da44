"""Replaces the generated parts of a page, which stand between two comments.

The one rule: a page without its two comments, in order and once each, is an error, never a page left as it was.
"""

from collections.abc import Sequence
from pathlib import Path


def replace(page: str, *, name: str, body: str) -> str:
    """Return `page` with `body` between `<!-- name:begin … -->` and `<!-- name:end -->`. Raises ValueError without them."""
    begin, end = f"<!-- {name}:begin", f"<!-- {name}:end -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"the page must hold {begin} … --> and {end} once each")
    head, _, rest = page.partition(begin)
    note, closed, rest = rest.partition("-->")
    _, found, tail = rest.partition(end)
    if not closed or not found:
        raise ValueError(f"{begin} … --> must stand before {end}")
    return f"{head}{begin}{note}{closed}\n{body.strip()}\n{end}{tail}"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table; vertical bars in cells are escaped."""
    lines = [
        head,
        tuple("---" for _ in head),
        *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def put(path: Path, text: str, *, check: bool) -> bool:
    """Write `text` to `path`, or only compare with `check`. Return whether the file was as it should be."""
    wanted = text.encode()
    same = path.exists() and path.read_bytes() == wanted
    if not same and not check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wanted)
    return same
