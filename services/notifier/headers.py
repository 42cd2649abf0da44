"""Text that visitors and agents typed, made fit for a mail's header.

The one rule: nothing typed may start a header of its own. Whoever handles a mail may decode RFC 2047 words in what was typed, and
some write the line breaks that come out, as Python's email package did before 3.11.9 (CVE-2024-6923), so no such word and no
control character is left.
"""

import re
import unicodedata
from email.errors import HeaderParseError
from email.header import decode_header

TEXT_CHARS_MAX = 200
_WORD = re.compile(r"=\?[^?\s]{1,64}\?[bBqQ]\?[^?]*\?=")
_DECODINGS_MAX = 4
"""Words within words are decoded this often; what is then still one is defused, not decoded."""
_DEFUSED = "= ?"


def header_text(text: str) -> str:
    """Return `text` as one line without control characters and encoded words, of at most `TEXT_CHARS_MAX` characters."""
    for _ in range(_DECODINGS_MAX):
        decoded = _WORD.sub(lambda match: _decoded(match.group()), text)
        if decoded == text:
            break
        text = decoded
    line = "".join(" " if character.isspace() else character for character in text)
    kept = "".join(character for character in line if not unicodedata.category(character).startswith("C"))
    line = " ".join(kept.replace("=?", _DEFUSED).split())
    return line if len(line) <= TEXT_CHARS_MAX else line[: TEXT_CHARS_MAX - 1] + "…"


def _decoded(word: str) -> str:
    """One encoded word as text; one that can't be decoded is left out."""
    try:
        parts = decode_header(word)
        return "".join(
            part if isinstance(part, str) else part.decode(charset or "ascii", "replace")
            for part, charset in parts
        )
    except (HeaderParseError, LookupError, ValueError):
        return ""
