"""E-mail addresses a visitor typed: which of them can be looked for, and which two are the same.

The one rule: only letter case, Unicode form and the spelling of the domain are folded. `a+shop@` and `a@` are two addresses, since whether
they reach the same person is known only to the provider.
"""

import unicodedata

from email_validator import EmailNotValidError, validate_email


def usable_address(typed: str | None) -> str | None:
    """The address as it may be searched for and stored in a CRM; None where it is none, or of a reserved name such as `.local`."""
    if typed is None:
        return None
    try:
        # A deliverability check would ask the network; an address of a company's own domain is as good as any.
        return validate_email(
            typed.strip(), check_deliverability=False, globally_deliverable=False
        ).normalized
    except EmailNotValidError:
        return None


def email_key(address: str) -> str:
    """What two spellings of one address have in common; of anything else, the text without letter case."""
    return unicodedata.normalize("NFC", (usable_address(address) or address.strip()).casefold())
