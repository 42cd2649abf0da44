"""Looks at a day the way people do: into the mailbox, at the pages behind links, into the archive.

One rule: it looks at what was handed out, never at the topics; `accounts` says what has to be there.
"""

import email
import html
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqlalchemy import create_engine, func, select

from services.transcript.archive import tables

_PAGE_LIMIT_S = 30.0


def archived_notes(archive_url: str) -> int:
    """Return how many agents' notes the archive holds. Raises SQLAlchemyError."""
    engine = create_engine(archive_url)
    try:
        with engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(tables.notes)) or 0
    finally:
        engine.dispose()


def leaks(whispers: Iterable[str], *, mails: Iterable[Path], links: Iterable[str]) -> list[str]:
    """Return where a whisper can be read outside: in which of these files of mails, on which pages. Raises OSError."""
    secrets = tuple(dict.fromkeys(whispers))
    return [where for where, text in _handed_out(mails, links) if any(whisper in text for whisper in secrets)]


def _handed_out(mails: Iterable[Path], links: Iterable[str]) -> Iterator[tuple[str, str]]:
    for path in mails:
        # The old parser: it leaves the headers alone, and is several times as fast.
        message = email.message_from_bytes(path.read_bytes())
        bodies = (part.get_payload(decode=True) for part in message.walk())
        text = "\n".join(body.decode() for body in bodies if isinstance(body, bytes))
        yield path.name, html.unescape(text)
    for link in links:
        with urllib.request.urlopen(link, timeout=_PAGE_LIMIT_S) as page:  # noqa: S310  our own service's links
            yield link, html.unescape(page.read().decode())
