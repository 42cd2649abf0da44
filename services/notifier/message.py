"""A mail as the bytes that go over the wire.

The one rule: the same mail gives the same bytes, so a mail sent again after a crash is recognised by its Message-ID; and
no text of a visitor comes into a header but through `header_text`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

import css_inline
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from services.notifier.core import Mail, Recipient, digest, header_id
from services.notifier.headers import header_text
from services.notifier.views import View, view

_POLICY = SMTP.clone(cte_type="7bit", max_line_length=78)


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
        smtputf8 = _needs_utf8(sender, recipients)
        message = EmailMessage(_POLICY.clone(utf8=smtputf8))
        message["Message-ID"] = f"<{header_id(mail.effect_id)}.{mail.kind}@{domain}>"
        message["Date"] = datetime.fromtimestamp(mail.at_ms / 1000, UTC)
        message["From"] = _address(sender, header_text(mail.from_name))
        for header, listed in (("To", mail.to), ("Cc", mail.cc)):
            addresses = [_address(recipient.address) for recipient in listed if recipient.target in named]
            if addresses:
                message[header] = addresses
        message["Subject"] = header_text(shown.subject)
        if mail.list_of:
            message["List-Id"] = f"<{'.'.join(header_id(part) for part in mail.list_of)}.chats.{domain}>"
            message["Auto-Submitted"] = "auto-generated"
        self._fill(message, mail, shown)
        return Written(sender, message.as_bytes(), smtputf8)

    def _fill(self, message: EmailMessage, mail: Mail, shown: View) -> None:
        text = _sendable(self._text.render(view=shown))
        html = self._inliner.inline(_sendable(self._html.render(view=shown)))
        message.set_content(text, cte=_encoding(text))
        message.add_alternative(html, subtype="html", cte=_encoding(html))
        message.set_boundary(f"=_{digest('boundary', mail.effect_id, mail.kind)}")


def _address(address: str, display_name: str = "") -> Address:
    local, _, domain = address.rpartition("@")
    return Address(display_name=display_name, username=local, domain=domain)


def _needs_utf8(sender: str, recipients: tuple[Recipient, ...]) -> bool:
    return not all(
        address.isascii() for address in (sender, *(recipient.address for recipient in recipients))
    )


def _encoding(text: str) -> str:
    """Base64 for what is mostly not ASCII, otherwise quoted-printable: both survive any line length and any server."""
    return "quoted-printable" if sum(map(str.isascii, text)) * 3 > len(text) * 2 else "base64"


def _sendable(text: str) -> str:
    """NUL, which a visitor can send and many servers and readers choke on, is replaced."""
    return text.replace("\0", "\ufffd")
