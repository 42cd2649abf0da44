"""What people wrote, and who they are, as it stands in an input log, and the search for it in logs and metrics.

The one rule: a text is looked for in every shape a log could give it, not as it was written alone. ASCII texts are found wherever they stand;
single words of names only as whole words, since `Gray` is also in `Grayscale`; and what is not ASCII is a leak by itself, since our own
lines are in English: so a name of one letter, like 葵, needs no search.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import orjson

PRIVATE = frozenset(
    (
        *("address", "addresses", "comment", "email", "from_address", "ip", "location", "message"),
        *("note", "phone", "question", "sender", "text"),
    )
)
"""Fields of events whose texts are somebody's. Names are too, but for those of workspaces and departments; see `_names`."""
NAMED = ("visitor", "sender")
"""Fields whose `name` is a person's."""
WORD_CHARS_MIN = 3
"""A word of a name that is shorter would be found anywhere; a test sees to it that there is none."""
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_NOT_ASCII = re.compile(
    r"[^\x00-\x7f]|\\u[0-9a-f]{4}|\\x[89a-f][0-9a-f]|(=[89A-F][0-9A-F]){3}|(%[89A-F][0-9A-F]){3}"
)


def private_texts(values: Iterable[bytes]) -> tuple[set[str], set[str]]:
    """Return all that is private in the records of an input log: texts, and the single words of people's names."""
    texts: set[str] = set()
    names: set[str] = set()
    for value in values:
        try:
            envelope = orjson.loads(value)
        except orjson.JSONDecodeError:
            continue
        data = envelope.get("data")
        if not isinstance(data, dict):
            continue
        names.update(_names(envelope["type"], data))
        for key, text in _leaves(data):
            if key in PRIVATE:
                texts.update(part.strip() for part in (text.split(",") if key == "addresses" else [text]))
        if data.get("kind") in {"ip", "visitor_email"}:  # of a monitor
            texts.add(data["value"])
    words = {word for name in names for word in name.split() if word.isascii()}
    return {text for text in texts | names if text.isascii() and text}, words


def _names(kind: str, data: dict[str, Any]) -> Iterator[str]:
    people = [data[field] for field in NAMED if isinstance(data.get(field), dict)]
    if kind == "agent.configured.v1":
        people.append(data)
    for person in people:
        if name := person.get("name"):
            yield name


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    match value:
        case dict():
            for name, item in value.items():
                yield from _leaves(item, name)
        case list():
            for item in value:
                yield from _leaves(item, key)
        case str():
            yield key, value


def shapes(text: str) -> Iterator[str]:
    """Give what a text may look like in a log: as it is, escaped for JSON, as in mails and links, and within base64 wherever it begins."""
    raw = text.encode()
    yield text
    yield orjson.dumps(text).decode()[1:-1]
    yield repr(raw)[2:-1]
    yield quote(text)
    yield quote(text, safe="")
    yield text.replace("=", "=3D")
    for shift in range(3):
        encoded = b64encode(bytes(shift) + raw).decode().rstrip("=")
        # What a group of four letters shares with its neighbours depends on them.
        yield encoded[4 if shift else 0 : len(encoded) // 4 * 4]


def found(texts: Iterable[str], words: Iterable[str], told: str) -> list[str]:
    """Return what of it is in a text that was logged or scraped."""
    leaks = [text for text in sorted(texts) if any(shape in told for shape in set(shapes(text)) if shape)]
    leaks += [word for word in sorted(words) if re.search(rf"\b{re.escape(word)}\b", told)]
    leaks += sorted({match.group() for match in _ADDRESS.finditer(told)})
    return (
        leaks
        + [told[max(0, match.start() - 40) : match.end() + 40] for match in _NOT_ASCII.finditer(told)][:3]
    )
