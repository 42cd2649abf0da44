"""The settings of links, which every worker that makes or opens them reads by the same rule."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from services.runtime.links import LinkSettings

SECRET = "0123456789abcdef-test"


def test_the_secret_of_a_file_is_that_of_the_variable(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"  {SECRET}\n\n", encoding="utf-8")
    assert LinkSettings(link_secret_file=file).secret == LinkSettings(link_secret=SecretStr(SECRET)).secret


def test_exactly_one_secret_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="either"):
        LinkSettings()
    with pytest.raises(ValidationError, match="either"):
        LinkSettings(link_secret=SecretStr(SECRET), link_secret_file=tmp_path / "secret")


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "can't be read"), (b"\xff\xfe" * 20, "can't be read"), (b"short", "16 characters")],
)
def test_an_unusable_file_is_a_settings_error(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValidationError, match=said):
        LinkSettings(link_secret_file=file)
