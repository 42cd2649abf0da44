"""Looks at a day the way people do: into the mailbox, at the pages behind links, into the archive.

One rule: it looks at what was handed out, never at the topics; `accounts` says what has to be there.
"""

import html
import urllib.request
from collections.abc import Iterable, Iterator

from sqlalchemy import create_engine, func, select

from services.local.mailbox import Mail
from services.transcript import tables

_PAGE_LIMIT_S = 30.0


def archived_notes(archive_url: str) -> int:
    """Return how many agents' notes the archive holds. Raises SQLAlchemyError."""
    engine = create_engine(archive_url)
    try:
        with engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(tables.notes)) or 0
    finally:
        engine.dispose()


def leaks(whispers: Iterable[str], *, mails: Iterable[Mail], links: Iterable[str]) -> list[str]:
    """Return where a whisper can be read outside: which mails, and which pages behind these links. Raises OSError."""
    secrets = tuple(dict.fromkeys(whispers))
    return [where for where, text in _handed_out(mails, links) if any(whisper in text for whisper in secrets)]


def _handed_out(mails: Iterable[Mail], links: Iterable[str]) -> Iterator[tuple[str, str]]:
    for mail in mails:
        bodies = (mail.message.get_body((kind,)) for kind in ("plain", "html"))
        text = "\n".join(body.get_content() for body in bodies if body is not None)
        yield mail.path.name, html.unescape(text)
    for link in links:
        with urllib.request.urlopen(link, timeout=_PAGE_LIMIT_S) as page:  # noqa: S310  our own service's links
            yield link, html.unescape(page.read().decode())
