"""The language of whoever asks over HTTP."""

import pytest

from schemas.types import Language
from services.runtime.languages import preferred_language


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("", "en"),
        ("ja", "ja"),
        ("ja-JP,ja;q=0.9,en;q=0.8", "ja"),
        ("en-US,en;q=0.9,ja;q=0.8", "en"),
        ("fr-FR, ja;q=0.5", "ja"),
        ("*", "en"),
        ("fr", "en"),
        (" JA ", "ja"),
        ("jam", "en"),
        ("\x00;;,=", "en"),
    ],
)
def test_the_first_language_there_are_words_in(asked: str, language: Language) -> None:
    assert preferred_language(asked) == language
