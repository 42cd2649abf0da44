"""Programs of the machine that a test can't do without.

The one rule: a missing one is a skip that names it, and an error where nobody watches (`CI`).
"""

import os
import shutil

import pytest


def program(name: str, *, package: str = "") -> str:
    """Its path. `package`: what brings it on Debian."""
    found = shutil.which(name)
    if found is None:
        told = f"{name} is missing" + (f" (Debian: apt install {package})" if package else "")
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(told)
    return found
