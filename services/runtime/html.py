"""What pages people open are made with, and their headers: nothing is loaded or run, nothing kept, and the address is not told to other sites.

The one rule: what a template is given is escaped, and what it is not given is an error.
"""

from base64 import b64encode
from hashlib import sha256
from importlib import resources
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined


def page_templates(package: str, *, is_async: bool = False) -> Environment:
    """The templates of a package; with `is_async` they may ask for what comes as they go."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        enable_async=is_async,
    )


def page_style(package: str, name: str) -> str:
    """A style sheet that stands beside a package's templates."""
    return (resources.files(package) / "templates" / name).read_text("utf-8")


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
