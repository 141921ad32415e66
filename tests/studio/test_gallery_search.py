"""The gallery in a real browser: pictures found by what they show, and described (B-023)."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from guided_site import guided_site
from playwright.sync_api import Page, expect
from programs.studio_browser import BROWSER_TESTS, settled, violations

pytestmark = BROWSER_TESTS
PROMPTS = ("a red apple", "a blue car")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with guided_site(tmp_path_factory.mktemp("site")) as url:
        for prompt in PROMPTS:
            job = {"kind": "illustrate", "input": {"prompt": prompt, "seed": 3}}
            made = httpx.post(f"{url}/v1/jobs", json=job, headers={"Prefer": "wait=60"}, timeout=90)
            assert made.json()["status"] == "completed"
        yield url


def test_pictures_are_found_by_what_they_show_and_described(page: Page, site: str) -> None:
    settled(page, "/gallery")
    tiles = page.locator("li.tile")
    expect(tiles).to_have_count(2)
    page.get_by_label("Search", exact=True).fill("car")
    expect(tiles).to_have_count(1)  # the words of its prompt

    with page.expect_response(lambda answer: "/v1/generations/similar?" in answer.url) as found:
        page.get_by_role("radio", name="What it shows").check(force=True)
    assert "text=car" in found.value.url
    assert violations(page) == []

    page.get_by_label("Search", exact=True).fill("")
    expect(tiles).to_have_count(2)
    page.get_by_role("button", name="Open: a red apple").click()
    page.get_by_role("button", name="Describe").click()
    description = page.get_by_role("region", name="Description")
    expect(description.get_by_role("status")).not_to_be_empty()
    expect(description.locator(".chip").first).to_be_visible()
    assert violations(page) == []

    with page.expect_response(lambda answer: "/v1/generations/similar?" in answer.url) as alike:
        page.get_by_role("button", name="More like this").click()
    assert "result_id=" in alike.value.url
    expect(page.get_by_text("Like “a red apple”, the most alike first")).to_be_visible()
    page.get_by_role("button", name="Show everything").click()
    expect(tiles).to_have_count(2)
