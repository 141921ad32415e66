"""The web application in a real browser (Debian's Chromium) against the whole stack.

Every page must be free of axe violations, console errors and violations of the content security policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from programs.studio_browser import CHROMIUM, WAIT_MS, launched, overflow, settled, silent_page, violations
from whole_stack import Stack

from loadtests.studio.browser import PAGES

OPERATED = {"Users": "All who have drawn", "Engines": "quality", "Audit": "key.create"}
"""Parts of the page Operate, and what a row of each has."""
FIRST_LOAD = 200_000
"""Bytes of compressed script."""

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; make test installs Debian's, as root"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser, stack: Stack) -> Iterator[BrowserContext]:
    opened = browser.new_context(
        base_url=f"http://{stack.http}", viewport={"width": 1440, "height": 900}, bypass_csp=False
    )
    opened.set_default_timeout(WAIT_MS)
    opened.grant_permissions(["clipboard-read", "clipboard-write"])
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    with silent_page(context) as opened:
        yield opened


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [1440, 360])
def test_pages_have_no_axe_violations_and_do_not_overflow(page: Page, theme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    found = {}
    for path in PAGES.values():
        settled(page, path)
        found[path] = violations(page)
        assert overflow(page) <= 0, path
    assert found == {path: [] for path in PAGES.values()}


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
    expect(page.get_by_role("button", name=re.compile("^Open: "))).to_have_count(1)
    expect(page.get_by_role("button", name="Open: red apple in a browser")).to_have_count(1)
    page.get_by_role("button", name="Favourite: red apple in a browser").click()
    expect(page.get_by_role("button", name="Favourite: red apple in a browser")).to_have_attribute(
        "aria-pressed", "true"
    )


def test_picture_is_edited_and_shared(page: Page, stack: Stack) -> None:
    """Crop by keyboard, turn, darken: kept as a new picture. The gallery's dialogs have no axe violations."""
    job = {"kind": "illustrate", "input": {"prompt": "picture to edit", "seed": 5, "num_inference_steps": 2}}
    posted = httpx.post(f"http://{stack.http}/v1/jobs", json=job, headers={"Prefer": "wait=60"}, timeout=90)
    assert posted.json()["status"] == "completed", posted.text
    settled(page, "/gallery")
    page.get_by_label("Search").fill("picture to edit")
    expect(page.get_by_role("button", name=re.compile("^Open: "))).to_have_count(1)
    page.get_by_role("button", name="Open: picture to edit").click()
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_role("button", name="16 : 9").click()
    page.get_by_label("Width, px").fill("40")
    page.keyboard.press("Tab")
    assert violations(page) == []
    page.get_by_role("radio", name="Turn").check(force=True)
    page.get_by_role("button", name="Turn right").click()
    page.get_by_role("radio", name="Colours").check(force=True)
    page.get_by_role("slider", name="Brightness").fill("0.5")
    with page.expect_response(lambda answer: answer.url.endswith("/edit")) as answered:
        page.get_by_role("button", name="Save as a new picture").click()
    edited = answered.value.json()
    assert edited["parameters"]["options"] == {
        "crop": {"left": 0, "top": 14, "width": 40, "height": 36}, "rotate": 90, "brightness": 0.5
    }  # fmt: skip
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Copy: Embed code").click()
    assert page.evaluate("navigator.clipboard.readText()").startswith('<img src="http')
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Open: picture to edit")).to_have_count(2)


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


def signed_in(browser: Browser, stack: Stack, user: str, role: str) -> Page:
    """A page in a browser of its own, signed in with a new key by the form of the profile page."""
    made = stack.atelier("keys", "create", "--user", user, "--role", role)
    assert made.returncode == 0, made.stderr
    opened = browser.new_context(base_url=f"http://{stack.http}", viewport={"width": 1440, "height": 900})
    opened.set_default_timeout(WAIT_MS)
    page = opened.new_page()
    settled(page, "/profile")
    page.get_by_label("API key").fill(made.stdout.strip())
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    return page


def test_operate_is_for_administrators(browser: Browser, stack: Stack) -> None:
    page = signed_in(browser, stack, "operator", "admin")
    for theme in ("dark", "light"):
        page.evaluate(f"localStorage.setItem('theme', '{theme}')")
        settled(page, "/operate")
        expect(page.get_by_role("region", name="What was made")).to_be_visible()
        assert violations(page) == []
        for part, row in OPERATED.items():
            page.get_by_role("radio", name=part).check(force=True)
            expect(page.get_by_role("row", name=row).first).to_be_visible()
            assert violations(page) == []
    page.context.close()


def test_two_users_do_not_see_each_other(browser: Browser, stack: Stack) -> None:
    ada, bo = (signed_in(browser, stack, name, "user") for name in ("ada", "bo"))
    settled(ada, "/")
    ada.get_by_label("Prompt").fill("what only ada may see")
    ada.get_by_role("slider", name="Pictures").fill("1")
    ada.keyboard.press("Control+Enter")
    ada.get_by_role("button", name="Open: what only ada may see").wait_for()
    settled(ada, "/gallery")
    expect(ada.get_by_role("button", name="Open: what only ada may see")).to_have_count(1)
    for path in ("/gallery", "/queue"):
        settled(bo, path)
        expect(bo.get_by_text("what only ada may see")).to_have_count(0)
    settled(bo, "/operate")
    expect(bo.get_by_text("This page needs an administrator's key")).to_be_visible()
    for page in (ada, bo):
        page.context.close()


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
