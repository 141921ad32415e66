"""Chromium for measurements, and what a stack has to have so that its pages show something."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

_PAGE = re.compile(r'page\("(?P<path>[^"]+)", "(?P<name>[^"]+)",.*?(?P<admin>"admin")?\),$', re.MULTILINE)
_LIST = (Path(__file__).parents[2] / "studio" / "src" / "pages.ts").read_text()
ALL_PAGES = {found["name"]: found["path"] for found in _PAGE.finditer(_LIST)}
PAGES = {found["name"]: found["path"] for found in _PAGE.finditer(_LIST) if not found["admin"]}
"""Without those that need an administrator's key."""
WINDOW: ViewportSize = {"width": 1440, "height": 900}
PICTURES = 24
_FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        raise SystemExit("no Chromium; make chromium installs Debian's")
    with sync_playwright() as playwright:
        sandbox = [] if os.getuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=path, args=[*_FLAGS, *sandbox])
        yield browser
        browser.close()


def fill(url: str) -> None:
    """Draws `PICTURES` once, in two steps each."""
    kept = httpx.get(f"{url}/v1/generations", params={"q": "vitals", "limit": PICTURES}).raise_for_status().json()
    if len(kept["generations"]) >= PICTURES:
        return
    for seed in range(PICTURES):
        job = {"kind": "illustrate", "input": {"prompt": "vitals, an apple", "seed": seed, "num_inference_steps": 2}}
        httpx.post(f"{url}/v1/jobs", json=job, headers={"Prefer": "wait=60"}, timeout=90).raise_for_status()


def opened(page: Page, path: str) -> None:
    """Returns once nothing of the page is still loading."""
    page.goto(path)
    page.get_by_role("heading", level=1).wait_for()
    page.locator(".skeleton").first.wait_for(state="detached")
