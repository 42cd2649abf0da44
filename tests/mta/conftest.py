"""What the tests against a real mail server share, and when they run: `make test-mail` does, `make test` does not.

The one rule: where there is no mail server the tests are skipped by name, and fail where nobody watches (`CI`).
"""

import os
from collections.abc import Iterator

import pytest

from tests.mta.postfix import Postfix, lacking


@pytest.fixture(scope="session")
def server() -> Iterator[Postfix]:
    """Return the mail server of the run."""
    missing = lacking()
    if missing is not None:
        (pytest.fail if "CI" in os.environ else pytest.skip)(f"no mail server to test against: {missing}")
    with Postfix() as running:
        yield running


@pytest.fixture
def postfix(server: Postfix) -> Postfix:
    """Return the mail server, its mailboxes empty."""
    server.empty()
    return server
