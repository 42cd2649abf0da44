"""Mail addresses: whether a text is one, and its usual form.

The one rule: only the form is judged, never whether somebody is there: mail servers of a private network (`.local`) count.
"""

import email_validator

_PRIVATE = ("local", "localhost", "test")

for _domain in _PRIVATE:
    # The library's own way to allow them: its documentation, "special use domain names".
    if _domain in email_validator.SPECIAL_USE_DOMAIN_NAMES:
        email_validator.SPECIAL_USE_DOMAIN_NAMES.remove(_domain)


def usual_form(text: str) -> str:
    """Return the address in its usual form. Raises ValueError, without the text, when it is none."""
    try:
        checked = email_validator.validate_email(text, check_deliverability=False, globally_deliverable=False)
    except email_validator.EmailNotValidError:
        raise ValueError("a mail address was expected") from None
    return checked.normalized
