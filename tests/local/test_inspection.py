"""What visitors get to see of a day: the inspection finds what should not be there, and counts what should."""

from email.message import EmailMessage
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import create_engine

from services.local.inspection import archived_notes, leaks
from services.transcript.archive import tables

WHISPER = "go down to ten per cent, it's fine"


def mailed(folder: Path, *, plain: str, html: str) -> list[Path]:
    message = EmailMessage()
    message["Subject"] = "The conversation"
    message.set_content(plain, cte="base64")
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    path = folder / "0001.eml"
    path.write_bytes(message.as_bytes())
    return [path]


@pytest.mark.parametrize(
    ("plain", "html", "found"),
    [
        ("Hello", "<p>Hello</p>", []),
        (f"Hello {WHISPER}", "<p>Hello</p>", ["0001.eml"]),
        ("Hello", "<p>go down to ten per cent, it&#39;s fine</p>", ["0001.eml"]),
    ],
)
def test_a_whisper_in_a_mail_is_found(tmp_path: Path, plain: str, html: str, found: list[str]) -> None:
    mails = mailed(tmp_path, plain=plain, html=html)
    assert leaks([WHISPER, WHISPER], mails=mails, links=[]) == found


def test_a_whisper_on_a_page_is_found() -> None:
    page = "data:text/html;charset=utf-8," + quote("<p>go down to ten per cent, it&#39;s fine</p>")
    assert leaks([WHISPER], mails=[], links=[page, "data:text/html,<p>Hello</p>"]) == [page]
    assert leaks([], mails=[], links=[page]) == []


def test_notes_are_counted_in_the_archive(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'archive.db'}"
    engine = create_engine(url)
    tables.metadata.create_all(engine)
    assert archived_notes(url) == 0
    note = {
        "workspace_id": "acme",
        "source": "/t",
        "chat_id": "c",
        "at_ms": 0,
        "by_agent_id": "ann",
        "text": "!",
    }
    with engine.begin() as connection:
        connection.execute(
            tables.notes.insert(), [note | {"event_id": each, "note_id": each} for each in ("n1", "n2")]
        )
    engine.dispose()
    assert archived_notes(url) == 2
