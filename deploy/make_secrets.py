"""Writes the secrets that deploy/compose.yaml reads, each in a file of its own, where they are not there yet.

The one rule: an existing secret is never replaced, since databases and links that were made with it would be lost.
Run it once: python deploy/make_secrets.py
"""

import secrets
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "secrets"


def main() -> None:
    """Make the folder and the files. The containers' user must be able to read them, other users must not enter."""
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    password = _kept("postgres_password", secrets.token_urlsafe(32))
    url = f"postgresql://chat:{password}@postgres:5432"
    _kept("chat_link_secret", secrets.token_urlsafe(32))
    _kept("chat_api_secret", secrets.token_urlsafe(32))
    _kept("chat_metrics_token", secrets.token_urlsafe(32))
    _kept("chat_archive_url", f"{url}/chat")
    _kept("notifier_ledger_url", f"{url}/notifier")
    _kept("crm_sync_ledger_url", f"{url}/crm_sync")


def _kept(name: str, value: str) -> str:
    path = FOLDER / name
    if not path.exists():
        path.write_text(value, encoding="ascii")
        path.chmod(0o444)
    return path.read_text(encoding="ascii")


if __name__ == "__main__":
    main()
