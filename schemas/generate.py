"""Writes what is generated from the contract: JSON Schemas, the AsyncAPI document, and the README's tables.

The one rule: the same contract gives the same bytes. `python -m schemas.generate` writes; with `--check` it only says what would change.
"""

import json
import sys
from pathlib import Path

from schemas import asyncapi, jsonschema, marked, tables
from schemas.catalogue import CHANNELS

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "schemas" / "generated"
README = ROOT / "README.md"


def documents() -> dict[Path, str]:
    """Return every generated file with its text."""
    files = {FOLDER / "asyncapi.json": _text(asyncapi.document())}
    for channel in CHANNELS:
        for member in channel.members:
            schema = jsonschema.of_type(member, is_input=channel.is_input)
            files[FOLDER / f"{member.TYPE}.json"] = _text(schema)
    page = README.read_text(encoding="utf-8")
    page = marked.replace(page, name="topics", body=tables.of_topics())
    page = marked.replace(page, name="events", body=tables.of_events())
    files[README] = page
    return files


def generate(*, check: bool) -> list[str]:
    """Write the files, or with `check` compare only. Return what was not as it should be, as paths below the root."""
    files = documents()
    changed = [path for path, text in files.items() if not marked.put(path, text, check=check)]
    stale = [path for path in sorted(FOLDER.glob("*.json")) if path not in files]
    if not check:
        for path in stale:
            path.unlink()
    return [str(path.relative_to(ROOT)) for path in (*changed, *stale)]


def _text(value: jsonschema.Schema) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Run the command; with `--check`, exit 1 where a file is not what the contract gives."""
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit("usage: python -m schemas.generate [--check]")
    changed = generate(check=check)
    for path in changed:
        sys.stdout.write(f"{'differs' if check else 'written'}: {path}\n")
    if check and changed:
        sys.exit("Generated files differ from schemas/: run make generate and commit what it writes.")


if __name__ == "__main__":
    main()
