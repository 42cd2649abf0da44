"""What the tests in a real browser share, and when they run: `make test-archive` does, `make test` does not.

The one rule: where there is no browser the tests are skipped by name, and fail where nobody watches (`CI`).
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.site import Site, serving

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
START_LIMIT_MS = 60_000
WAIT_MS = 30_000

Opened: TypeAlias = Callable[..., Page]
"""Opens an address: `(url, width=, **what else a browser's context can be told)`."""


# Sync Playwright keeps its loop in the test's thread: it must be gone before an asynchronous test runs, so no session's fixture.
@pytest.fixture(scope="package")
def launched() -> Iterator[Callable[..., Browser]]:
    """Return what launches the browser, with arguments."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        missing = f"none of {', '.join(PROGRAMS)} (Debian: chromium)"
        (pytest.fail if "CI" in os.environ else pytest.skip)(f"no browser to test with: {missing}")
    with ExitStack() as stack, sync_playwright() as driver:

        def launch(*arguments: str) -> Browser:
            browser = driver.chromium.launch(executable_path=program, args=arguments, timeout=START_LIMIT_MS)
            stack.callback(browser.close)
            return browser

        yield launch
        stack.close()


@pytest.fixture(scope="package")
def browser(launched: Callable[..., Browser]) -> Browser:
    """Return the browser as it comes."""
    return launched()


@pytest.fixture(scope="package")
def large_print(launched: Callable[..., Browser]) -> Browser:
    """Return the browser of somebody who has set its text to double size."""
    return launched("--blink-settings=defaultFontSize=32,defaultFixedFontSize=26")


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return where the pages are served."""
    with serving(tmp_path_factory.mktemp("site")) as served:
        yield served


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Return what opens a page, and see at the end that the browser had nothing to complain about."""
    complaints: list[str] = []
    with ExitStack() as stack:

        def open_page(url: str, *, width: int = 1280, using: Browser = browser, **told: Any) -> Page:
            context = using.new_context(viewport={"width": width, "height": 800}, **told)
            stack.callback(context.close)
            context.set_default_timeout(WAIT_MS)
            page = context.new_page()
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("dialog", lambda dialog: complaints.append(dialog.message))
            page.on("request", lambda request: complaints.extend({request.url} - {url}))
            page.goto(url)
            return page

        yield open_page
    assert [each for each in complaints if "Failed to load resource" not in each] == []


@pytest.fixture(scope="session")
def pictures() -> Path | None:
    """Return the folder named by `PICTURES`, where pictures of the pages are kept to be looked at; None for no pictures."""
    named = os.environ.get("PICTURES")
    return Path(named) if named else None
