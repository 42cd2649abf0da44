"""Which language whoever asks over HTTP reads.

The one rule: what they ask for decides, in the order of their browser; English where there is none of it.
"""

from typing import get_args

from babel.core import negotiate_locale

from schemas.types import Language


def preferred_language(accept_language: str) -> Language:
    """Return the first language of an Accept-Language header that there are words in; browsers list the wanted ones in order."""
    wanted = [each.partition(";")[0].strip().lower() for each in accept_language.split(",")]
    return "ja" if negotiate_locale(wanted, get_args(Language), sep="-") == "ja" else "en"
