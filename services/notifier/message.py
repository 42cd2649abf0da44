"""A mail as the bytes that go over the wire.

The one rule: the same mail gives the same bytes, so a mail sent again after a crash is recognised by its Message-ID; and
no text of a visitor comes into a header but through `header_text`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

import css_inline
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from services.notifier.core import Mail, Recipient, digest, header_id
from services.notifier.headers import header_text
from services.notifier.mime import alternatives, header, mailbox, text
from services.notifier.views import view


@dataclass(frozen=True, slots=True)
class Written:
    """A mail ready to be sent: from whom (the envelope), the message, and whether it needs SMTPUTF8."""

    sender: str
    message: bytes
    smtputf8: bool


class Scribe:
    """Writes mails. `default_from` is the sender where neither department nor workspace names one."""

    def __init__(self, *, default_from: str) -> None:
        self._default_from = default_from
        environment = Environment(
            loader=PackageLoader("services.notifier"),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            keep_trailing_newline=True,
        )
        self._text = environment.get_template("mail.txt")
        self._html = environment.get_template("mail.html")
        self._inliner = css_inline.CSSInliner(load_remote_stylesheets=False)

    def write(self, mail: Mail, recipients: tuple[Recipient, ...]) -> Written:
        """Return the mail for these of its recipients, the others being refused."""
        shown = view(mail)
        sender = mail.from_address or self._default_from
        domain = sender.rpartition("@")[2]
        named = {recipient.target for recipient in recipients}
        at = datetime.fromtimestamp(mail.at_ms / 1000, UTC)
        head = [
            header("Message-ID", f"<{header_id(mail.effect_id)}.{mail.kind}@{domain}>"),
            header("Date", format_datetime(at)),
            header("From", mailbox("From", sender, shown=header_text(mail.from_name))),
        ]
        for name, listed in (("To", mail.to), ("Cc", mail.cc)):
            addresses = [mailbox(name, each.address) for each in listed if each.target in named]
            if addresses:
                head.append(header(name, ", ".join(addresses)))
        head.append(header("Subject", text("Subject", header_text(shown.subject))))
        if mail.list_of:
            list_id = ".".join(header_id(part) for part in mail.list_of)
            head.append(header("List-Id", f"<{list_id}.chats.{domain}>"))
            head.append(header("Auto-Submitted", "auto-generated"))
        plain = _sendable(self._text.render(view=shown))
        html = self._inliner.inline(_sendable(self._html.render(view=shown)))
        boundary = f"=_{digest('boundary', mail.effect_id, mail.kind)}"
        message = b"".join((*head, alternatives(plain, html, boundary=boundary)))
        return Written(sender, message, _needs_utf8(sender, recipients))


def _needs_utf8(sender: str, recipients: tuple[Recipient, ...]) -> bool:
    return not all(
        address.isascii() for address in (sender, *(recipient.address for recipient in recipients))
    )


def _sendable(text: str) -> str:
    """NUL, which a visitor can send and many servers and readers choke on, is replaced."""
    return text.replace("\0", "\ufffd")
