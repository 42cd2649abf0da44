"""Headers of the pages people open: nothing is loaded or run, nothing kept, and the address is not told to other sites."""

from base64 import b64encode
from hashlib import sha256
from typing import Literal


def page_headers(style: str, *, form_action: Literal["none", "self"]) -> dict[str, str]:
    """The headers of a page whose only style is the inline `style`; `form_action`: where its forms may go."""
    style_hash = b64encode(sha256(style.encode()).digest()).decode()
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; form-action '{form_action}'; "
            "frame-ancestors 'none'"
        ),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Robots-Tag": "noindex, nofollow",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
