"""Headers and parts as bytes, read back by Python's own parser."""

import email
import email.policy
from email.header import decode_header, make_header
from email.message import EmailMessage

import pytest

from services.notifier.mime import LINE_CHARS_MAX, alternatives, header, mailbox, text

WORDS = "word " * 40


def read(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ("short", [b"Name: short"]),
        ("", [b"Name: "]),
        ("x" * 200, [b"Name: " + b"x" * 200]),
        (f"{'x' * 60} {'y' * 60}", [b"Name: " + b"x" * 60, b" " + b"y" * 60]),
        (f"{'x' * 72} y", [b"Name: " + b"x" * 72, b" y"]),
        (f"{'x' * 70} y", [b"Name: " + b"x" * 70 + b" y"]),
    ],
)
def test_a_header_is_folded_between_words(value: str, lines: list[bytes]) -> None:
    assert header("Name", value) == b"".join(line + b"\r\n" for line in lines)


@pytest.mark.parametrize(
    "hostile", ["\r\nBcc: x@x", "\nx", "\rx", "\0", "\x1b", "\x85", "\u2028", "\t", "\udc0a"]
)
def test_what_is_no_line_of_text_is_no_header(hostile: str) -> None:
    with pytest.raises(ValueError, match=r"^Subject: a control character"):
        header("Subject", f"hi{hostile}")
    with pytest.raises(ValueError, match=r"control character|CR or LF"):
        header("From", mailbox("From", f"a{hostile}@example.com", shown="Sales"))


@pytest.mark.parametrize(
    "shown",
    ["未対応チャット：山田 花子（営業部）", "あ" * 200, f"{WORDS}山田 {WORDS}", WORDS.strip(), "1 = 2"],
)
def test_text_comes_out_as_it_went_in(shown: str) -> None:
    raw = header("Subject", text("Subject", shown))
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= LINE_CHARS_MAX
    assert read(raw)["Subject"] == shown


@pytest.mark.parametrize(
    "shown", ["", "Sales", 'Sales, "the best"', "営業部 第二課, 東京", WORDS.strip(), "a <b@c>"]
)
@pytest.mark.parametrize(
    "address", ["support@example.com", f"{'a' * 60}.{'b' * 3}@{'c' * 60}.{'d' * 60}.example"]
)
def test_a_mailbox_is_one_whatever_its_name_is(shown: str, address: str) -> None:
    raw = header("From", mailbox("From", address, shown=shown))
    (found,) = read(raw)["From"].addresses
    assert (found.display_name, found.addr_spec) == (shown, address)


def test_a_long_name_is_whole_for_those_who_join_encoded_words() -> None:
    """RFC 2047, 6.2. Python's newer parser puts blanks between those of names."""
    shown = "部" * 150
    raw = header("From", mailbox("From", "support@example.com", shown=shown))
    decoded = make_header(decode_header(email.message_from_bytes(raw)["From"]))
    assert str(decoded).replace(" ", "") == f"{shown}<support@example.com>"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "one line",
        "ends with a blank \r\nand a tab\t\n.\n..\n-- \n",
        "a\rb\r\nc\nd\r\ne\x0bf\r\ng\u2028h",
        "=3D = =?utf-8?q?x?= \x01\x7f",
        "長い日本語の文。" * 300,
        f"{'x' * 2_000} é",
    ],
)
def test_parts_come_out_as_they_went_in(content: str) -> None:
    raw = alternatives(content, f"<p>{content}</p>", boundary="=_b")
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 76 + len("=")
    assert b"\r" not in raw.replace(b"\r\n", b"")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    parts = [part.get_payload(decode=True) for part in read(raw).iter_parts()]
    lines = content.encode().splitlines()
    assert isinstance(parts[0], bytes)
    assert parts[0].split(b"\r\n") == [*lines, b""]
    assert read(raw).defects == []
