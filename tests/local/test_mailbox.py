"""The mail sink keeps what was sent, byte for byte, and says who sent it to whom."""

import smtplib
import socket
from email.message import EmailMessage
from pathlib import Path

import pytest

from services.local.errors import LocalError
from services.local.mailbox import Mailbox
from services.local.ports import free_ports, is_free


def mail(subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "desk@example.org"
    message["To"] = "shown@example.org"
    message["Subject"] = subject
    message.set_content(text)
    return message


def test_mails_are_kept_with_their_envelope_and_numbering_goes_on(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    for subject in ("担当者不在のお知らせ", "second"):
        with Mailbox(tmp_path, port=port), smtplib.SMTP("127.0.0.1", port) as client:
            client.send_message(
                mail(subject, "本文"),
                from_addr="bounce@example.org",
                to_addrs=["a@example.org", "b@example.org"],
            )
    with Mailbox(tmp_path, port=port) as mailbox:
        first, second = mailbox.mails()
    assert first.path.name == "0001.eml"
    assert first.sender == "bounce@example.org"
    assert first.recipients == ("a@example.org", "b@example.org")
    assert first.message["Subject"] == "担当者不在のお知らせ"
    assert second.message["Subject"] == "second"
    assert is_free(port)


def test_the_bytes_are_those_of_the_wire(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    raw = b"Subject: =?utf-8?q?hi=0ABcc:=20x@x?=\r\nX-Odd:   spaced \r\n\r\n.a dot\r\nand \xe6\x97\xa5\r\n"
    with Mailbox(tmp_path, port=port) as mailbox, smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("a@example.org", ["b@example.org"], raw, mail_options=["BODY=8BITMIME"])
        (kept,) = mailbox.mails()
    assert kept.path.read_bytes() == raw


def test_an_open_connection_does_not_hold_up_the_end(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    with socket.socket() as client:
        with Mailbox(tmp_path, port=port):
            client.connect(("127.0.0.1", port))
            assert client.recv(3) == b"220"
        assert is_free(port)


def test_a_taken_port_is_said_in_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LocalError, match=rf"^The mail sink cannot listen on 127.0.0.1:{port} .*\.$"):
            Mailbox(tmp_path, port=port).__enter__()
