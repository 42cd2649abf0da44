"""A department's mail settings, resolved: who gets which mail, in which language, from whom.

The one rule: a kind is on only when it is enabled and has an address; the notifier is told addresses, never switches.
"""

from schemas.decisions import MailPlan
from schemas.events import MailSwitch, Visitor
from schemas.notices import Letter
from services.router.core.state import Department, Workspace


def _addresses(switch: MailSwitch) -> tuple[str, ...]:
    """The comma-separated addresses of a switch that is on, each once, in order."""
    if not switch.enabled:
        return ()
    parts = [part.strip() for part in switch.addresses.split(",")]
    return tuple(dict.fromkeys([part for part in parts if part]))


def address_of(visitor: Visitor) -> str | None:
    """A visitor's address; None where none is known. What is blank is none."""
    return (visitor.email or "").strip() or None


def plan(ws: Workspace, department: Department) -> MailPlan:
    """The department's mail settings as `chat.closed.v1` carries them."""
    return ws.mail_plans[department.id]


def resolve(ws: Workspace, department: Department) -> MailPlan:
    """Makes the plan anew, after the settings of the department or of its workspace changed."""
    email = department.settings.email
    return MailPlan(
        language=email.language or ws.profile.settings.language,
        timezone=ws.profile.settings.timezone,
        from_address=email.from_address or ws.profile.settings.sender,
        transcript=_addresses(email.transcript),
        ip_blocked=_addresses(email.ip_blocked),
        feedback=_addresses(email.feedback),
        unattended=_addresses(email.unattended),
        cc=_addresses(email.cc),
        digest_s=email.digest_s,
    )


def letter(ws: Workspace, department: Department, to: tuple[str, ...], *, cc: tuple[str, ...] = ()) -> Letter:
    """The head of one mail of a department."""
    resolved = plan(ws, department)
    return Letter(
        to=to,
        language=resolved.language,
        timezone=resolved.timezone,
        from_address=resolved.from_address,
        cc=cc,
    )
