"""The web application in a real browser (Debian's Chromium) against the whole stack.

Every page must be free of axe violations, console errors and violations of the content security policy.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from whole_stack import Stack

CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).parents[2] / "studio" / "node_modules" / "axe-core" / "axe.min.js"
PAGES = ("/", "/vectorise", "/queue", "/gallery", "/references", "/models", "/profile")
WAIT_MS = 60_000
FIRST_LOAD = 200_000
"""Bytes of compressed script."""

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; make test installs Debian's, as root"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    arguments = ["--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        sandbox = [] if os.getuid() else ["--no-sandbox"]
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=[*arguments, "--disable-sync", *sandbox])
        yield launched
        launched.close()


@pytest.fixture
def context(browser: Browser, stack: Stack) -> Iterator[BrowserContext]:
    opened = browser.new_context(
        base_url=f"http://{stack.http}", viewport={"width": 1440, "height": 900}, bypass_csp=False
    )
    opened.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    opened.grant_permissions(["clipboard-read", "clipboard-write"])
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
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


def settled(page: Page, path: str) -> None:
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator(".skeleton")).to_have_count(0)


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [1440, 360])
def test_pages_have_no_axe_violations_and_do_not_overflow(page: Page, theme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    found = {}
    for path in PAGES:
        settled(page, path)
        found[path] = violations(page)
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, path
    assert found == {path: [] for path in PAGES}


def test_prompt_to_picture_to_svg(page: Page) -> None:
    """The whole way: draw with the keyboard, open the picture, vectorise it, save the SVG, find both in the gallery."""
    settled(page, "/")
    page.get_by_label("Prompt").fill("red apple in a browser")
    page.get_by_role("slider", name="Pictures").fill("1")
    page.keyboard.press("Control+Enter")
    picture = page.get_by_role("button", name="Open: red apple in a browser")
    picture.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("img")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(picture).to_be_focused()
    page.get_by_role("button", name="Vectorise", exact=True).click()
    page.get_by_role("button", name="Open: Vectorised").wait_for()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save", exact=True).first.click()
    assert b"<svg" in Path(saved.value.path()).read_bytes()
    settled(page, "/gallery")
    page.get_by_label("Search").fill("apple browser")
    expect(page.get_by_role("button", name="Open: red apple in a browser")).to_have_count(1)
    page.get_by_role("button", name="Favourite: red apple in a browser").click()
    expect(page.get_by_role("button", name="Favourite: red apple in a browser")).to_have_attribute(
        "aria-pressed", "true"
    )


def test_pictures_are_vectorised_and_explained(page: Page, logo: bytes, tmp_path: Path) -> None:
    files = []
    for number in range(3):
        file = tmp_path / f"logo{number}.png"
        file.write_bytes(logo)
        files.append(file)
    settled(page, "/vectorise")
    page.locator("input[type=file]").set_input_files(files)
    expect(page.get_by_role("progressbar", name="Pictures done")).to_have_attribute("aria-valuenow", "100")
    insights = page.get_by_role("region", name="Insights")
    expect(insights).to_contain_text("Predicted quality")
    assert violations(page) == []
    page.get_by_role("radio", name="Outlines").check(force=True)
    expect(page.get_by_role("img", name=re.compile("Outlines of"))).to_be_visible()
    insights.get_by_role("button", name="Copy SVG").click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("<svg")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save all as ZIP").click()
    assert Path(saved.value.path()).read_bytes()[:2] == b"PK"


def test_text_of_others_is_shown_and_never_run(page: Page, stack: Stack) -> None:
    """A prompt and a subject with markup appear as they are on every page that shows them."""
    attack = '"><img src=x onerror="document.title=1"><script>document.title=2</script>'
    job = {"kind": "illustrate", "input": {"prompt": attack, "seed": 3, "num_inference_steps": 2}}
    posted = httpx.post(f"http://{stack.http}/v1/jobs", json=job, headers={"Prefer": "wait=60"}, timeout=90)
    assert posted.json()["status"] == "completed", posted.text
    for path in ("/gallery", "/queue"):
        settled(page, path)
        expect(page.get_by_text(attack).first).to_be_visible()
        assert "Atelier" in page.title()


def test_first_load_is_small(page: Page) -> None:
    settled(page, "/")
    loaded = page.evaluate("performance.getEntriesByType('resource').map(one => [one.name, one.encodedBodySize])")
    assert 0 < sum(size for name, size in loaded if name.endswith(".js")) < FIRST_LOAD


def test_shell_opens_without_the_stack(context: BrowserContext, page: Page) -> None:
    """The service worker has the studio's own files; the page says that the stack does not answer."""
    settled(page, "/")
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    settled(page, "/queue")  # loaded through the worker
    page.goto("about:blank")  # an open page of the studio would ask on, and complain
    context.set_offline(True)
    other = context.new_page()  # failed requests are on its console, as they should be
    other.goto("/queue")
    expect(other.get_by_role("alert").first).to_contain_text("does not answer")
    context.set_offline(False)
    expect(other.get_by_text("does not answer")).to_have_count(0)
