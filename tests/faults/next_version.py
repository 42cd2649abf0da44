"""The next version of the services, for tests of upgrades: a copy of the sources, changed as a developer would change them.

The one rule: it changes what the policy (docs/upgrades.md) lets one step change, in places that no decision depends on; so it
must say the same as this version, and remember more. A line that is no longer there is an error, never a copy left as it was.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "services")
SLOGAN_SET = "workspace.slogan_set.v1"
"""A type of events that only the next version knows."""
REVISION = "9999"
NEXT = "next"
"""What it writes into columns, and settings, that this version does not have: `begun_by`, `parked_by` and `stored_by`."""


@dataclass(frozen=True, slots=True)
class Change:
    """`after` these lines, which stand there once, come `added` ones."""

    file: str
    after: str
    added: str


CHANGES = (
    # A stored field of every chat.
    Change(
        "services/router/core/state.py",
        "    sought_clock_ms: int = 0\n",
        "    begun_offset: int | None = None\n",
    ),
    Change(
        "services/router/core/evolve.py",
        "    ws.chats[chat.id] = chat\n",
        "    chat.begun_offset = ws.offset\n",
    ),
    # A stored field of the workspace, set by a new type of events.
    Change(
        "services/router/core/state.py",
        "    blocked: dict[str, int] = field(default_factory=dict)\n",
        '    slogan: str = ""\n',
    ),
    Change(
        "schemas/events.py",
        "    limit_ms: Annotated[int, Field(ge=1, le=60_000)] = 3_000\n",
        f"""

@dataclass(frozen=True, slots=True)
class WorkspaceSloganSet:
    TYPE: ClassVar = "{SLOGAN_SET}"
    slogan: Name
""",
    ),
    Change("schemas/events.py", "Event = (\n    WorkspaceConfigured\n", "    | WorkspaceSloganSet\n"),
    Change(
        "services/router/core/decide.py",
        "            e.WorkspaceConfigured()\n",
        "            | e.WorkspaceSloganSet()\n",
    ),
    Change(
        "services/router/core/evolve.py",
        "            configuring.workspace_configured(ws, fact)\n",
        "        case e.WorkspaceSloganSet():\n            ws.profile.slogan = fact.slogan\n            ws.touch(ws.profile)\n",
    ),
    # A stored field of every conversation.
    Change(
        "services/transcript/state.py",
        "    done_offset: int = -1\n    touched_ms: int = 0\n",
        '    begun_by: str = ""\n',
    ),
    Change(
        "services/transcript/core.py",
        "        requests = chat.head.requests\n",
        "        chat.head.begun_by = chat.head.begun_by or event\n",
    ),
    # A table in the ledgers' databases, and columns of effects and of what is parked.
    Change(
        "services/runtime/ledger.py",
        "metadata = MetaData()\n",
        '_slogans = Table("slogans", metadata, Column("id", Integer, primary_key=True))\n',
    ),
    Change(
        "services/runtime/ledger.py",
        '    Column("owner", String(160), nullable=True),\n',
        '    Column("begun_by", String(16), nullable=True),\n',
    ),
    Change(
        "services/runtime/ledger.py",
        '"state": "claimed", "changed_ms": now_ms, "owner": self.owner}\n',
        f'        new["begun_by"] = "{NEXT}"\n',
    ),
    Change(
        "services/runtime/parking.py",
        '    Column("record_headers", LargeBinary, nullable=True),\n',
        '    Column("parked_by", String(16), nullable=True),\n',
    ),
    Change(
        "services/runtime/parking.py",
        '        "record_headers": _dumps(record.headers),\n',
        f'        "parked_by": "{NEXT}",\n',
    ),
    # A column of the settings that crm_sync stores, and a field in them.
    Change(
        "services/crm_sync/store.py",
        "    settings: Mapped[str] = mapped_column(Text)\n",
        "    stored_by: Mapped[str | None] = mapped_column(String(16))\n",
    ),
    Change(
        "services/crm_sync/store.py",
        "            for workspace_id, one in sorted(settings.items())\n        ]\n",
        f"""        for row in changed:
            row["stored_by"] = "{NEXT}"
            row["settings"] = row["settings"].replace("{{", '{{"stored_by":"{NEXT}",', 1)
""",
    ),
)
MIGRATION = f'''"""Another column, and another table."""

import sqlalchemy as sa
from alembic import op

revision = "{REVISION}"
down_revision = "{{head}}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("chats", sa.Column("slogan", sa.String(length=128)))
    op.create_table("slogans", sa.Column("id", sa.Integer(), primary_key=True))


def downgrade() -> None:
    op.drop_table("slogans")
    op.drop_column("chats", "slogan")
'''


def make(folder: Path) -> Path:
    """Make the next version in a new folder; return what a worker's PYTHONPATH must name to run it."""
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    for change in CHANGES:
        path = folder / change.file
        source = path.read_text("utf-8")
        assert source.count(change.after) == 1, f"{change.file} was changed: where is {change.after!r} now?"
        path.write_text(source.replace(change.after, change.after + change.added), "utf-8")
    versions = folder / "services/transcript/archive/migrations/versions"
    head = max(path.name[1:5] for path in versions.glob("v*.py"))
    (versions / f"v{REVISION}_next.py").write_text(MIGRATION.format(head=head), "utf-8")
    return folder
