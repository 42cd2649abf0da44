"""Headers and parts of a mail as bytes, as RFC 5322, 2045 and 2047 want them.

The one rule: a header's value is looked at where it becomes bytes (`header`), whoever made it: no control character, and no line
break but those of folding. Python's `EmailMessage` would parse it instead (CVE-2024-6923), at ten times the cost.
"""

from binascii import b2a_base64, b2a_qp
from email.header import Header
from email.headerregistry import Address
from typing import Final

LINE_CHARS_MAX: Final = 78
"""RFC 5322, 2.1.1. A longer word stands on a line of its own; those of addresses and of `header_text` stay below 998."""
_BASE64_CHARS_MAX = 76


def header(name: str, value: str) -> bytes:
    """Return a header of a value that may stand there as it is, folded between words. Raises ValueError when it may not."""
    if not value.isprintable():
        raise ValueError(f"{name}: a control character or line break in a header")
    first, *words = value.split(" ")
    lines = [f"{name}: {first}"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > LINE_CHARS_MAX:
            lines.append("")
        lines[-1] += f" {word}"
    return "".join(f"{line}\r\n" for line in lines).encode()


def text(name: str, value: str) -> str:
    """Return free text, which went through `header_text`, as a header's value: in encoded words where it needs them."""
    if value.isascii():
        return value
    return " ".join(Header(value, header_name=name, maxlinelen=LINE_CHARS_MAX).encode().split())


def mailbox(name: str, address: str, *, shown: str = "") -> str:
    """Return an address as a header's value; `shown`, the name before it, went through `header_text`."""
    local, _, domain = address.rpartition("@")
    if shown.isascii():
        return str(Address(display_name=shown, username=local, domain=domain))
    return f"{text(name, shown)} <{Address(username=local, domain=domain)}>"


def alternatives(plain: str, html: str, *, boundary: str) -> bytes:
    """Return the last header of a mail and its two parts. The boundary begins with `=_`, which no encoding writes."""
    return b"".join(
        (
            b"MIME-Version: 1.0\r\n",
            header("Content-Type", f'multipart/alternative; boundary="{boundary}"'),
            _part(plain, "plain", boundary=boundary),
            _part(html, "html", boundary=boundary),
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )


def _part(content: str, subtype: str, *, boundary: str) -> bytes:
    lines = content.encode().splitlines()
    body = b"\r\n".join((*lines, b""))  # whatever ended a line before: no bare CR or LF is left
    # Base64 for what is mostly not ASCII: both survive any line length and any server.
    is_latin = len(content.encode("ascii", "ignore")) * 3 > len(content) * 2
    encoding, encoded = ("quoted-printable", b2a_qp(body)) if is_latin else ("base64", _base64(body))
    head = (
        f'\r\n--{boundary}\r\nContent-Type: text/{subtype}; charset="utf-8"\r\n'
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode() + encoded


def _base64(body: bytes) -> bytes:
    encoded = b2a_base64(body, newline=False)
    starts = range(0, len(encoded), _BASE64_CHARS_MAX)
    return b"".join(encoded[start : start + _BASE64_CHARS_MAX] + b"\r\n" for start in starts)
