"""The pages Prompts and For you in a real browser, with the real application (C-037, C-039, C-050 to C-059)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from guided_site import guided_site
from playwright.sync_api import Page, expect
from programs.studio_browser import BROWSER_TESTS, overflow, settled, violations

pytestmark = BROWSER_TESTS
FOX = "a red fox in a misty forest at dawn, watercolour"
ROBOT = "a robot, flat"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with guided_site(tmp_path_factory.mktemp("site")) as url:
        for prompt in (FOX, ROBOT):
            body = {"prompt": prompt, "userId": "anonymous"}
            assert httpx.post(f"{url}/api/nlp/analyze", json=body).json()["id"]
        yield url


def test_what_was_drawn_is_found_kept_taken_again_and_deleted(page: Page, site: str) -> None:
    settled(page, "/")
    page.get_by_label("Prompt", exact=True).fill("a blue boat")
    page.get_by_role("slider", name="Pictures").fill("1")
    with page.expect_response(lambda answer: answer.url.endswith("/api/nlp/analyze")) as kept:
        page.keyboard.press("Control+Enter")
        page.get_by_role("button", name="Open: a blue boat").wait_for()
    assert kept.value.ok
    settled(page, "/prompts")
    prompts = page.get_by_role("list", name="Prompts").get_by_role("listitem")
    expect(prompts).to_have_count(3)
    expect(prompts.first).to_contain_text("a blue boat")
    assert violations(page) == []
    assert overflow(page) == 0

    page.get_by_label("Search").fill("sunrise")  # what the words mean, too
    expect(prompts).to_have_count(1)
    prompts.get_by_role("button", name=f"Favourite: {FOX}").click()
    expect(prompts.get_by_role("button", name=f"Favourite: {FOX}")).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Search").fill("")

    page.get_by_role("button", name="Delete: a blue boat").click()
    expect(page.get_by_role("button", name=f"Delete: {ROBOT}")).to_be_focused()
    page.get_by_role("button", name="Undo").click()
    expect(prompts).to_have_count(3)
    page.get_by_role("button", name="Delete: a blue boat").click()
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as deleted:
        expect(prompts).to_have_count(2)
    assert deleted.value.status == 204

    page.get_by_role("radio", name="Favourites").check(force=True)
    favourites = page.get_by_role("list", name="Favourite prompts").get_by_role("listitem")
    expect(favourites).to_have_count(1)
    favourites.get_by_role("button", name=re.compile("^Use: ")).click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(FOX)


def test_presets_are_taken_into_the_form(page: Page) -> None:
    settled(page, "/prompts")
    page.get_by_role("radio", name="Presets").check(force=True)
    page.get_by_role("radio", name="Fantasy").check(force=True)
    preset = page.get_by_role("list", name="Presets").get_by_role("listitem").first
    text = preset.locator("p").inner_text()
    assert violations(page) == []
    preset.get_by_role("button", name=re.compile("^Use: ")).click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(text)


def test_a_memory_is_kept_taken_up_and_deleted(page: Page) -> None:
    settled(page, "/prompts")
    page.get_by_role("radio", name="Memories").check(force=True)
    page.get_by_label("Title").fill("Holidays")
    page.get_by_label("Memory", exact=True).fill("a sailing boat on the blue sea")
    page.get_by_role("button", name="Keep").click()
    memories = page.get_by_role("list", name="Memories").get_by_role("listitem")
    expect(memories).to_have_count(1)
    assert violations(page) == []
    assert overflow(page) == 0
    settled(page, "/")
    page.get_by_label("Prompt", exact=True).fill("a lighthouse by the sea")
    page.get_by_role("button", name="Improve").click()
    expect(page.get_by_role("list", name="What was added")).to_contain_text("recalling boat, blue tones")
    settled(page, "/prompts")
    page.get_by_role("radio", name="Memories").check(force=True)
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as deleted:
        page.get_by_role("button", name="Delete: Holidays").click()
    assert deleted.value.status == 204


def test_models_are_chosen_and_what_they_draw_is_ranked(page: Page) -> None:
    settled(page, "/")
    page.get_by_label("Prompt", exact=True).fill(ROBOT)
    page.get_by_role("button", name="Let it choose").click()
    ranked = page.get_by_role("list", name="Ranked pictures").get_by_role("listitem")
    expect(ranked).to_have_count(2)
    expect(ranked.first).to_contain_text("Score")
    expect(ranked.first).to_contain_text("Chosen with")
    assert violations(page) == []
    page.get_by_role("button", name="Use this model: plain").click()
    expect(page.get_by_role("button", name="Model", exact=False).first).to_contain_text("plain")


def test_taste_says_how_it_chooses_and_chooses(page: Page, site: str) -> None:
    job = {"kind": "illustrate", "input": {"prompt": ROBOT, "seed": 1}}
    made = httpx.post(f"{site}/v1/jobs", json=job, headers={"Prefer": "wait=60"}, timeout=60).json()
    like = {"generationId": made["id"], "userId": "anonymous"}
    assert httpx.post(f"{site}/api/feedback/like", json=like).status_code == 200
    settled(page, "/foryou")
    chooser = page.get_by_role("region", name="How it is chosen for you")
    for name, algorithm in (("Upper confidence bound", "ucb"), ("Epsilon-greedy", "epsilon_greedy")):
        chooser.get_by_role("button", name="Algorithm").click()
        with page.expect_response(lambda answer: answer.request.method == "PUT") as changed:
            page.get_by_role("option", name=name).click()
        assert changed.value.json()["algorithm"] == algorithm
    chooser.get_by_role("button", name="Exploration").click()
    page.get_by_role("option", name="0 %", exact=True).click()  # never anything but the best
    chooser.get_by_label("For the prompt").fill(ROBOT)
    chooser.get_by_role("button", name="Choose one").click()
    expect(chooser.get_by_role("status")).to_contain_text("guided")
    expect(chooser.get_by_text("Styles that are likely to please")).to_be_visible()
    assert violations(page) == []
    assert overflow(page) == 0
    page.reload()
    expect(page.get_by_role("button", name="Algorithm")).to_contain_text("Epsilon-greedy")
    expect(page.get_by_role("button", name="Exploration")).to_contain_text("0 %")
    assert httpx.get(f"{site}/api/preferences", params={"userId": "anonymous"}).json()["epsilon"] == 0
