"""Debian's Chromium for tests of the studio, and what each of its pages must be free of. While it is open, no test of
the same process may use asyncio."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from loadtests.studio.browser import chromium
from serve.api.studio.pages import BUILT
from serve.settings import project_path

CHROMIUM = shutil.which("chromium")
BROWSER_TESTS = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; make test installs Debian's, as root"),
    pytest.mark.skipif(not (project_path(BUILT) / "index.html").is_file(), reason="no built studio: make studio"),
]
"""Marks of a module that opens the built studio without a stack."""
WAIT_MS = 60_000


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    expect.set_options(timeout=WAIT_MS)
    with chromium() as browser:
        yield browser


AXE = Path(__file__).parents[2] / "studio" / "node_modules" / "axe-core" / "axe.min.js"


@contextlib.contextmanager
def silent_page(context: BrowserContext) -> Iterator[Page]:
    """Whatever it writes on the console, or throws, fails the test."""
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    assert complaints == []


def violations(page: Page) -> list[str]:
    """axe's, by rule and element."""
    page.evaluate(AXE.read_text())  # a script of the test, which the page's policy does not concern
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{one['id']}: {node['html'][:160]}" for one in found["violations"] for node in one["nodes"]]


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def settled(page: Page, path: str) -> None:
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator(".skeleton")).to_have_count(0)
