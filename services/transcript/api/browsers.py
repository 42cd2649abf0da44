"""Browsers in words: a frontend may send a name ("Chrome 141"), or what the browser says of itself, which the library ua-parser reads.

The one rule: what can't be read is shown as it came; it is text of a stranger, like everything about a visitor.
"""

from functools import cache
from typing import Any

from ua_parser import Matchers, Parser, load_builtins
from ua_parser.regex import Resolver

_RAW = ("Mozilla/", "Opera/", "Dalvik/")
"""How a browser's description of itself begins (RFC 9110, section 10.1.5: product/version)."""


@cache
def _parser() -> Parser:
    """Rust's regular expressions, which take linear time whatever a stranger sends; made when it is first needed."""
    matchers: Matchers = load_builtins()
    return Parser(Resolver(matchers))


def described(browser: str | None, *, os: str | None) -> dict[str, Any]:
    """Browser and operating system to be shown; what the frontend said of the system stands."""
    if browser is None or not browser.startswith(_RAW):
        return {"browser": browser, "os": os}
    read = _parser().parse(browser)
    agent, system = read.user_agent, read.os
    return {
        "browser": browser if agent is None else _words(agent.family, agent.major, agent.minor),
        "os": os if os is not None or system is None else _words(system.family, system.major, system.minor),
    }


def _words(family: str, *versions: str | None) -> str:
    version = ".".join(part for part in versions if part is not None)
    return f"{family} {version}".strip()
