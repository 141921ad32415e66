"""A browser on a module's `site`, which is a URL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from programs.studio_browser import WAIT_MS, launched, silent_page


@pytest.fixture(scope="module")
def browser(site: str) -> Iterator[Browser]:
    """Begun after the site, which may need asyncio to begin."""
    with launched() as opened:
        yield opened


@pytest.fixture
def context(browser: Browser, site: str) -> Iterator[BrowserContext]:
    opened = browser.new_context(base_url=site, viewport={"width": 1440, "height": 900})
    opened.set_default_timeout(WAIT_MS)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    with silent_page(context) as opened:
        yield opened
