"""`chat-routing mail preview`: each kind of mail in both languages, as it was approved.

A change that is meant: `UPDATE_GOLDEN=1 pytest tests/local/test_mail_preview.py` rewrites the files. Look at the HTML in a wide and in a
narrow window; no test sees what it looks like.
"""

from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from schemas.types import Language
from services.local.cli import app
from services.local.errors import LocalError
from services.local.sample_mails import Sample
from tests.approved import approved

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "mail"
LANGUAGES: tuple[Language, ...] = ("ja", "en")
SUFFIXES = ("eml", "html", "txt")


def preview(kind: str, language: Language, out: Path) -> list[str]:
    run = CliRunner().invoke(app, ["mail", "preview", kind, "--lang", language, "--out", str(out)])
    if run.exception is not None:
        raise run.exception
    return run.stdout.splitlines()


@pytest.mark.parametrize("language", LANGUAGES)
def test_mails_look_as_they_were_approved(language: Language, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    names = [f"{kind}.{language}.{suffix}" for kind in get_args(Sample) for suffix in SUFFIXES]
    assert preview("all", language, out) == [str(out / name) for name in names]
    for name in names:
        found = (out / name).read_bytes()
        assert found == approved(GOLDEN / name, found), name


def test_every_approved_file_is_one_of_a_mail() -> None:
    wanted = {
        f"{kind}.{lang}.{suffix}" for kind in get_args(Sample) for lang in LANGUAGES for suffix in SUFFIXES
    }
    assert {path.name for path in GOLDEN.iterdir()} == wanted


def test_one_kind_is_written_alone_and_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "reply.ja.txt").write_text("old")
    preview("reply", "ja", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"reply.ja.{suffix}" for suffix in SUFFIXES}
    assert (tmp_path / "reply.ja.txt").read_bytes() == (GOLDEN / "reply.ja.txt").read_bytes()


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        LocalError, match=r"reply\.en\.eml cannot be written \(File exists\): choose another folder"
    ):
        preview("reply", "en", tmp_path / "file")
