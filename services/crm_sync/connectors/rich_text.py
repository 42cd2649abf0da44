"""Plain text for fields of a CRM that hold HTML.

The one rule: what strangers wrote stays text, on the lines and at the depth where it stood: a visitor's further lines are indented, so
that none looks like somebody else's line, and HTML would drop that.
"""

import re
from html import escape

_LINE_END = "<br>"
_FIXED_SPACE = "\u00a0"
_INDENT = re.compile(r"^ +", re.MULTILINE)


def as_html(text: str) -> str:
    """Return the text as HTML that shows it. A longer text never gives shorter HTML."""
    kept = _INDENT.sub(lambda found: _FIXED_SPACE * len(found[0]), text)
    return escape(kept, quote=False).replace("\n", _LINE_END)
