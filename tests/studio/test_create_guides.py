"""LoRAs, references, control pictures, layout and what a picture can be used for, on the page Create in a real browser;
every drawing is validated by the real application (A-020, A-021, A-040 to A-042)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from guided_site import guided_site
from playwright.sync_api import BrowserContext, Locator, Page, expect
from programs.studio_browser import BROWSER_TESTS, overflow, settled, violations

pytestmark = BROWSER_TESTS


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, logo: bytes) -> Iterator[str]:
    """Its URL. It has two LoRAs and a reference."""
    with guided_site(tmp_path_factory.mktemp("site")) as url:
        for name in ("ink", "clay"):
            file = {"file": (f"{name}.safetensors", name.encode())}
            assert httpx.post(f"{url}/v1/loras", files=file).status_code == 201
        form = {"subject_name": "Bella", "user_id": "anonymous"}
        kept = httpx.post(f"{url}/api/references", files={"image": ("bella.png", logo)}, data=form)
        assert kept.status_code == 201
        yield url


@pytest.fixture
def picture(tmp_path: Path, logo: bytes) -> Path:
    path = tmp_path / "apple.png"
    path.write_bytes(logo)
    return path


def section(page: Page, title: str) -> Locator:
    """A part of the form, opened."""
    summary = page.locator("summary", has_text=re.compile(rf"^{title}\d*$"))
    found = page.locator("details", has=summary).last
    if found.get_attribute("open") is None:
        found.locator("summary").first.click()
    return found


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("button", name=re.compile(rf"{re.escape(label)}$")).click()  # "guided Model"
    page.get_by_role("option", name=option, exact=True).click()


def drawn(page: Page) -> dict[str, Any]:
    """Draws; the input of the job that the page has sent, which the application has accepted and drawn."""
    before = page.get_by_role("button", name="Open: ").count()
    with page.expect_response(lambda answer: answer.url.endswith("/v1/jobs")) as answered:
        page.keyboard.press("Control+Enter")
    assert answered.value.status == 202, answered.value.text()
    expect(page.get_by_role("button", name="Open: ")).to_have_count(before + 1)
    sent: dict[str, Any] = json.loads(answered.value.request.post_data or "{}")["input"]
    return sent


def begun(page: Page) -> None:
    settled(page, "/")
    page.get_by_label("Prompt").fill("a garden, flat")
    page.get_by_role("slider", name="Pictures").fill("1")


def test_a_drawing_is_guided_and_its_settings_come_back(page: Page, picture: Path) -> None:
    begun(page)
    section(page, "LoRAs")
    choose(page, "Add a LoRA", "ink")
    page.get_by_role("slider", name="Weight of ink").fill("-0.5")
    references = section(page, "References")
    references.get_by_role("button", name="Choose a stored one").click()
    page.get_by_role("dialog").get_by_text("References", exact=True).click()
    expect(page.get_by_role("button", name="Take: Bella")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("button", name="Take: Bella").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    references.get_by_role("slider", name="Weight").fill("0.7")
    references.get_by_text("Style and layout").click()
    references.get_by_role("slider", name="Style").fill("1.2")
    controls = section(page, "Control pictures")
    controls.locator("input[type=file]").set_input_files(picture)
    expect(controls.get_by_alt_text("Control: followed, canny")).to_be_visible()
    controls.get_by_role("slider", name="From").fill("0.2")
    assert violations(page) == []

    sent = drawn(page)
    assert sent["loras"] == [{"name": "ink", "weight": -0.5}]
    (reference,) = sent["references"]
    assert (reference["weight"], reference["style_scale"], reference["scale"]) == (0.7, 1.2, 0.6)
    (control,) = sent["controls"]
    assert (control["type"], control["preprocessor"], control["start"], control["end"]) == ("canny", "canny", 0.2, 1)
    assert control["image"].startswith("data:image/png;base64,")

    for name in ("ink", "Bella", "apple"):
        page.get_by_role("button", name=f"Remove {name}", exact=True).click()
        if name == "ink":  # the focus goes to what adds the next one
            expect(page.get_by_role("button", name="Add a LoRA")).to_be_focused()
    assert not {"loras", "references", "controls"} & drawn(page).keys()
    page.get_by_role("button", name="Take its settings into the form").last.click()
    again = drawn(page)
    assert again["loras"] == sent["loras"]
    assert again["controls"] == sent["controls"]
    assert again["references"][0]["style_scale"] == 1.2
    page.reload()  # what is stored, or was drawn from, is kept with the form
    expect(page.get_by_role("button", name="Remove ink")).to_be_visible()
    expect(page.get_by_role("button", name="Open: ")).to_have_count(3)  # those of before, which are loaded again
    assert drawn(page)["controls"] == sent["controls"]


def test_subjects_and_regions_are_laid_out_by_pointer_and_by_keyboard(page: Page) -> None:
    begun(page)
    section(page, "Layout")
    page.get_by_role("button", name="Lay it out").click()
    dialog = page.get_by_role("dialog", name="Regions and subjects")
    for name in ("Ada", "Bo"):
        dialog.get_by_role("button", name="Add a subject").click()
        page.keyboard.type(name)  # the focus is where the name is
    dialog.get_by_role("button", name="Add a relationship").click()
    canvas = dialog.get_by_role("group", name="Layout of the picture")
    expect(canvas.get_by_role("button", name="Ada: left 2 %, top 4 %, 46 % wide, 92 % high")).to_be_visible()
    choose(page, "Relation 1", "right of")
    expect(canvas.get_by_role("button", name="Ada: left 52 %")).to_be_visible()
    ada = canvas.get_by_role("button", name="Ada")
    ada.press("Shift+ArrowUp")
    expect(canvas.get_by_role("button", name="Ada: left 52 %, top 4 %, 46 % wide, 91 % high")).to_be_focused()

    frame = canvas.bounding_box()
    assert frame is not None
    left, top, width, height = (frame[name] for name in ("x", "y", "width", "height"))
    page.mouse.move(left + width * 0.49, top + height * 0.02)
    page.mouse.down()
    page.mouse.move(left + width * 0.2, top + height * 0.3, steps=4)
    page.mouse.up()
    # The drag began beside both subjects, and drew a region, whose prompt is written at once.
    page.keyboard.type("a kite")
    kite = canvas.get_by_role("button", name="a kite: left 20 %, top 2 %, 29 % wide, 28 % high")
    expect(kite).to_be_visible()
    page.mouse.move(left + width * 0.3, top + height * 0.15)
    page.mouse.down()
    page.mouse.move(left + width * 0.4, top + height * 0.15, steps=4)
    page.mouse.up()
    kite = canvas.get_by_role("button", name="a kite: left 30 %")
    expect(kite).to_be_focused()
    corner = canvas.locator("[data-handle=se]").bounding_box()
    assert corner is not None
    page.mouse.move(corner["x"] + 15, corner["y"] + 15)
    page.mouse.down()
    page.mouse.move(corner["x"] + 15 + width * 0.1, corner["y"] + 15, steps=4)
    page.mouse.up()
    expect(canvas.get_by_role("button", name="a kite: left 30 %, top 2 %, 39 % wide")).to_be_visible()
    page.keyboard.press("Control+z")
    expect(canvas.get_by_role("button", name="a kite: left 30 %, top 2 %, 29 % wide")).to_be_visible()
    dialog.get_by_label("Leave out").fill("clouds")
    dialog.get_by_text("Share, feather, order").click()
    dialog.get_by_label("Feather, px").fill("3")
    page.keyboard.press("Tab")
    assert violations(page) == []
    page.keyboard.press("Escape")

    sent = drawn(page)
    assert [one["name"] for one in sent["subjects"]] == ["Ada", "Bo"]
    assert "box" in sent["subjects"][0]
    assert "box" not in sent["subjects"][1]
    assert sent["relationships"] == [{"subject": "Ada", "relation": "right of", "object": "Bo"}]
    (region,) = sent["regions"]
    assert (region["prompt"], region["negative_prompt"], region["feather"]) == ("a kite", "clouds", 3)
    page.get_by_role("button", name="Remove all").click()
    page.get_by_role("button", name="Take its settings into the form").first.click()
    again = drawn(page)
    assert again["regions"] == sent["regions"]
    assert {one["name"] for one in again["subjects"]} == {"Ada", "Bo"}
    assert again["relationships"] == sent["relationships"]


def white_share(page: Page, mask: str) -> float:
    """Of a picture, by its address."""
    return float(page.evaluate("""async address => {
        const image = new Image();
        image.src = address;
        await image.decode();
        const on = new OffscreenCanvas(image.width, image.height).getContext('2d');
        on.drawImage(image, 0, 0);
        const data = on.getImageData(0, 0, image.width, image.height).data;
        let white = 0;
        for (let at = 0; at < data.length; at += 4) white += data[at] > 127;
        return (4 * white) / data.length;
    }""", mask))  # fmt: skip


def test_a_region_is_painted(page: Page) -> None:
    begun(page)
    section(page, "Layout")
    page.get_by_role("button", name="Lay it out").click()
    dialog = page.get_by_role("dialog", name="Regions and subjects")
    dialog.get_by_role("button", name="Paint a region").click()
    canvas = dialog.get_by_label("Region: a new one")
    frame = canvas.bounding_box()
    assert frame is not None

    def stroke(down: float) -> None:
        """From left to right, 12 % high."""
        page.mouse.move(frame["x"] + 1, frame["y"] + frame["height"] * down)
        page.mouse.down()
        page.mouse.move(frame["x"] + frame["width"] - 1, frame["y"] + frame["height"] * down, steps=5)
        page.mouse.up()

    for down in (0.2, 0.5, 0.8):
        stroke(down)
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+Shift+z")
    expect(dialog.get_by_role("button", name="Redo")).to_be_enabled()
    assert violations(page) == []
    dialog.get_by_role("button", name="Use this mask").click()
    page.keyboard.type("a stripe")
    page.keyboard.press("Escape")
    (region,) = drawn(page)["regions"]
    assert region["prompt"] == "a stripe"
    assert "box" not in region
    assert white_share(page, region["mask"]) == pytest.approx(0.24, abs=0.02)

    page.reload()  # small masks are kept with the form
    page.get_by_role("button", name="Open the layout").click()
    dialog.get_by_role("button", name="Change its shape").click()
    dialog.get_by_role("button", name="Invert").click()
    dialog.get_by_role("radio", name="Eraser").check(force=True)
    stroke(0.95)
    dialog.get_by_role("button", name="Use this mask").click()
    page.keyboard.press("Escape")
    (region,) = drawn(page)["regions"]
    assert white_share(page, region["mask"]) == pytest.approx(0.76 - 0.11, abs=0.02)


def test_relationships_that_contradict_one_another_are_said(context: BrowserContext) -> None:
    """In the stack's own words, while the boxes stay where they were."""
    page = context.new_page()  # a refused request is on its console, as it should be
    begun(page)
    section(page, "Layout")
    page.get_by_role("button", name="Lay it out").click()
    dialog = page.get_by_role("dialog", name="Regions and subjects")
    for name in ("Ada", "Bo"):
        dialog.get_by_role("button", name="Add a subject").click()
        page.keyboard.type(name)
    dialog.get_by_role("button", name="Add a relationship").click()
    choose(page, "Relation 1", "around")
    expect(dialog.get_by_role("button", name="Bo: left 27 %")).to_be_visible()
    dialog.get_by_role("button", name="Add a relationship").click()
    expect(dialog.get_by_role("alert")).to_contain_text("relationships[1]: orders 'Ada' and 'Bo'")
    expect(dialog.get_by_role("button", name="Bo: left 27 %")).to_be_visible()
    dialog.get_by_role("button", name="Remove relationship 2").click()
    expect(dialog.get_by_role("alert")).to_have_count(0)
    expect(dialog.get_by_role("button", name="Remove relationship 1")).to_be_focused()
    dialog.get_by_role("button", name="Remove", exact=True).click()
    expect(dialog.get_by_role("list").get_by_role("button", name="Ada")).to_be_focused()
    dialog.get_by_role("button", name="Ada: ").press("Delete")
    expect(dialog.get_by_role("button", name="Add a region")).to_be_focused()


def test_one_press_sends_one_drawing(page: Page) -> None:
    begun(page)
    sent = []
    page.on("request", lambda one: sent.append(one.url) if one.method == "POST" and "/v1/jobs" in one.url else None)
    page.evaluate("""() => {
        for (let press = 0; press < 3; press += 1)
            document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', ctrlKey: true, bubbles: true }));
    }""")
    page.get_by_role("button", name="Open: a garden, flat").wait_for()
    assert len(sent) == 1


def test_a_picture_becomes_source_reference_and_control(page: Page) -> None:
    begun(page)
    drawn(page)
    for name in ("Draw from it", "Use as reference", "Use as control picture"):
        page.get_by_role("button", name="Use a garden, flat").first.click()
        assert violations(page) == []
        page.get_by_role("button", name=name).click()
        expect(page.get_by_role("dialog")).to_have_count(0)
    section(page, "Grow the picture")
    left = page.get_by_role("slider", name="Grow on the left")
    left.press("ArrowLeft")
    left.press("Control+ArrowLeft")
    assert violations(page) == []
    sent = drawn(page)
    assert sent["outpaint"] == {"left": 72, "top": 0, "right": 0, "bottom": 0}
    assert sent["result_id"] == sent["references"][0]["result_id"] == sent["controls"][0]["result_id"]
    settled(page, "/gallery")
    page.get_by_role("button", name="Open: a garden, flat").first.click()
    page.get_by_role("button", name="Take its settings").click()
    expect(page.get_by_alt_text("Drawn from this")).to_be_visible()
    expect(page.get_by_role("button", name="Open: ")).to_have_count(2)
    again = drawn(page)
    assert (again["outpaint"], len(again["references"]), len(again["controls"])) == (sent["outpaint"], 1, 1)
    settled(page, "/references")
    page.get_by_role("button", name="Draw with the reference of Bella").click()
    expect(page.get_by_alt_text("Reference: Bella")).to_be_visible()


def test_a_picture_of_the_page_is_dragged_to_where_it_is_used(page: Page) -> None:
    begun(page)
    drawn(page)
    references = section(page, "References")
    page.get_by_role("button", name="Open: a garden, flat").locator("img").drag_to(references.locator(".drop"))
    expect(references.get_by_role("button", name="Remove reference")).to_be_visible()
    assert "result_id" in drawn(page)["references"][0]


def test_the_model_that_suits_is_said_and_taken(page: Page) -> None:
    begun(page)
    page.get_by_label("Prompt", exact=True).fill("portrait of an old sailor")
    page.get_by_role("button", name="Which model suits?").click()
    found = page.get_by_role("list", name="Models that suit").get_by_role("listitem")
    expect(found).to_have_count(2)
    expect(found.first).to_contain_text("portraits are drawn by diffusion")
    assert violations(page) == []
    page.get_by_role("button", name="Use the model plain").click()
    assert drawn(page)["model"] == "plain"


def test_what_a_model_does_not_take_is_not_shown(page: Page) -> None:
    begun(page)
    expect(page.locator("summary", has_text="LoRAs")).to_be_visible()
    choose(page, "Model", "plain")
    for title in ("LoRAs", "References", "Control pictures", "From a picture"):
        expect(page.locator("summary", has_text=title)).to_have_count(0)
    expect(page.locator("summary", has_text="Layout")).to_be_visible()


def test_loras_are_added_and_removed(page: Page, tmp_path: Path) -> None:
    settled(page, "/models")
    (tmp_path / "paper.safetensors").write_bytes(b"paper")
    page.get_by_role("region", name="LoRAs").first.locator("input[type=file]").set_input_files(
        tmp_path / "paper.safetensors"
    )
    expect(page.get_by_role("cell", name="paper", exact=True)).to_be_visible()
    assert violations(page) == []
    page.get_by_role("button", name="Remove paper").click()
    expect(page.get_by_role("cell", name="paper", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("cell", name="paper", exact=True)).to_be_visible()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_whole_form_is_accessible_and_fits_a_telephone(page: Page, theme: str, picture: Path) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    page.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    begun(page)
    section(page, "LoRAs")
    choose(page, "Add a LoRA", "ink")
    for title in ("From a picture", "References", "Control pictures"):
        section(page, title).locator("input[type=file]").first.set_input_files(picture)
    expect(page.get_by_alt_text("Control: followed, canny")).to_be_visible()
    section(page, "Grow the picture")
    assert violations(page) == []
    assert overflow(page) <= 0
    section(page, "Layout")
    page.get_by_role("button", name="Lay it out").click()
    dialog = page.get_by_role("dialog")
    for what in ("subject", "subject", "region"):
        dialog.get_by_role("button", name=f"Add a {what}").click()
        page.keyboard.type(f"a {what} {dialog.get_by_role('listitem').count()}")
    dialog.get_by_role("button", name="Add a relationship").click()
    assert violations(page) == []
    assert overflow(page) <= 0
