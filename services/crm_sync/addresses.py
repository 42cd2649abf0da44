"""E-mail addresses a visitor typed: which of them can be looked for, and which two are the same.

The one rule: only letter case, Unicode form and the spelling of the domain are folded. `a+shop@` and `a@` are two addresses, since whether
they reach the same person is known only to the provider.
"""

import unicodedata

from schemas.addresses import usual_form


def usable_address(typed: str | None) -> str | None:
    """The address as it may be searched for and stored in a CRM; None where it is none."""
    if typed is None:
        return None
    try:
        return usual_form(typed.strip())
    except ValueError:
        return None


def email_key(address: str) -> str:
    """What two spellings of one address have in common; of anything else, the text without letter case."""
    return unicodedata.normalize("NFC", (usable_address(address) or address.strip()).casefold())


def spellings(address: str) -> tuple[str, ...]:
    """The ways in which a CRM may have stored an address: as typed, in its usual form, and with its domain as it goes over the wire."""
    usual = usable_address(address) or address
    local, _, domain = usual.rpartition("@")
    try:
        wired = f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        wired = usual
    return tuple(dict.fromkeys((address, usual, wired)))
