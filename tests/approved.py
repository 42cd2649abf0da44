"""Files that were looked at and approved. The one rule: only `UPDATE_GOLDEN=1` rewrites them; the diff is what a review looks at."""

import os
from pathlib import Path


def approved(path: Path, found: bytes) -> bytes:
    """Return what was approved; where files are being rewritten, that is `found` from now on."""
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(found)
    return path.read_bytes()
