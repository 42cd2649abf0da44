"""The workspaces of the sample day: departments, agents, mail and CRM settings. One rule: people's times, unhurried.

Three workspaces, which land on three partitions under the usual counts: a Japanese travel agency, an English shop and
a bilingual manufacturer. Each has departments of several modes; the two quiet ones are for what goes wrong on purpose, and a
private one takes what others hand over.
"""

from dataclasses import dataclass

from schemas.events import CrmConfigured, EmailSettings, MailSwitch, Routing, WorkspaceConfigured
from schemas.types import Language, Visibility


@dataclass(frozen=True, slots=True)
class Desk:
    """A department of the sample day. `share` of all conversations come here; desks without have a fixed staff.

    `skills`: what visitors may ask for here; each of its agents has one of them.
    """

    department_id: str
    name: str
    routing: Routing
    email: EmailSettings
    share: float = 0.0
    language: Language = "en"
    skills: tuple[str, ...] = ()
    visibility: Visibility = "public"

    @property
    def quiet(self) -> bool:
        """Whether only what goes wrong on purpose comes here."""
        return self.share == 0 and self.visibility == "public"

    @property
    def supervisor_id(self) -> str:
        """The first of its agents, who is there all day and looks after the others."""
        return self.agent_id(1)

    def agent_id(self, number: int) -> str:
        """The id of one of its agents, who are counted from 1."""
        return f"{self.department_id}-{number:02d}"


@dataclass(frozen=True, slots=True)
class Company:
    """A workspace of the sample day; its first desk is the default department. In some, visitors' languages matter."""

    workspace: WorkspaceConfigured
    workspace_id: str
    crm: CrmConfigured | None
    desks: tuple[Desk, ...]
    languages: tuple[Language, ...] = ()

    @property
    def chief_id(self) -> str:
        """An admin who takes no chats of their own."""
        return f"{self.workspace_id}-chief"

    @property
    def watched_email(self) -> str:
        """The address of a visitor whom the chief's monitor looks for."""
        return f"vip@visitor.{self.workspace_id}.example.net"


def _mails(domain: str, *kinds: str, language: Language) -> EmailSettings:
    """Return settings with these kinds of mail switched on, each to an address of its own."""

    def switch(kind: str, *more: str) -> MailSwitch:
        names = (kind.replace("_", "-"), *more)
        return MailSwitch(enabled=kind in kinds, addresses=", ".join(f"{name}@{domain}" for name in names))

    return EmailSettings(
        from_address=f"chat@{domain}",
        transcript=switch("transcript"),
        ip_blocked=switch("ip_blocked"),
        feedback=switch("feedback"),
        unattended=switch("unattended", "team"),
        language=language,
    )


SAKURA = Company(
    WorkspaceConfigured(
        name="さくら旅行", timezone="Asia/Tokyo", language="ja", sender="chat@sakura.example.jp"
    ),
    "sakura",
    CrmConfigured("embedded", lead_policy="always", pool=("crm-yamada", "crm-ono"), region="JP"),
    (
        Desk(
            "sakura",
            "総合窓口",
            Routing(mode="offer", strategy="least_loaded"),
            _mails("sakura.example.jp", "unattended", "feedback", "ip_blocked", language="ja"),
            share=0.2,
            language="ja",
        ),
        Desk(
            "sakura-yoyaku",
            "予約",
            Routing(mode="ring_all"),
            _mails("sakura.example.jp", "unattended", "transcript", language="ja"),
            share=0.15,
            language="ja",
        ),
        Desk(
            "sakura-keiri",
            "経理",
            Routing(mode="offer", strategy="round_robin", no_answer_limit=0),
            _mails("sakura.example.jp", "unattended", language="ja"),
            language="ja",
        ),
    ),
)

NORTHWIND = Company(
    WorkspaceConfigured(
        name="Northwind", timezone="America/New_York", language="en", sender="chat@northwind.example.com"
    ),
    "northwind",
    CrmConfigured("embedded", lead_policy="on_request", owner_id="crm-smith", region="US"),
    (
        Desk(
            "northwind",
            "Customer Care",
            Routing(mode="offer", strategy="round_robin", sticky="last_agent", sticky_wait_s=10.0),
            _mails("northwind.example.com", "unattended", "feedback", "ip_blocked", language="en"),
            share=0.2,
            skills=("orders", "returns"),
        ),
        Desk(
            "northwind-sales",
            "Sales",
            Routing(mode="ring_all"),
            _mails("northwind.example.com", "unattended", "transcript", "feedback", language="en"),
            share=0.15,
        ),
        Desk(
            "northwind-billing",
            "Billing",
            Routing(mode="offer", strategy="least_loaded", no_answer_limit=0),
            _mails("northwind.example.com", "unattended", language="en"),
        ),
    ),
)

FUJI = Company(
    WorkspaceConfigured(
        name="Fuji Works", timezone="Asia/Tokyo", language="ja", sender="support@fuji.example.com"
    ),
    "fuji",
    None,
    (
        Desk(
            "fuji",
            "サポート",
            Routing(mode="auto", strategy="least_loaded"),
            _mails("fuji.example.com", "unattended", language="ja"),
            share=0.15,
            language="ja",
        ),
        Desk(
            "fuji-en",
            "Support (English)",
            Routing(mode="offer", strategy="longest_idle"),
            _mails("fuji.example.com", "unattended", "transcript", language="en"),
            share=0.15,
        ),
        Desk(
            "fuji-lab",
            "技術部",
            Routing(mode="offer", strategy="least_loaded"),
            _mails("fuji.example.com", language="ja"),
            language="ja",
            visibility="private",
        ),
    ),
    languages=("ja", "en"),
)

COMPANIES: tuple[Company, ...] = (SAKURA, NORTHWIND, FUJI)
