"""The page Restyle in a real browser, with the real application and queue; engines are functions (C-012)."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect
from programs.http_server import listening_with_state
from programs.studio_browser import BROWSER_TESTS, overflow, settled, violations

from serve.ensembles.illustrator.illustrator import Illustrator
from serve.settings import IllustratorSettings, JobsSettings, Settings
from tests.ensembles.drawn_family import write_family
from tests.ensembles.style_engines import with_style_engines, write_style_engines

pytestmark = BROWSER_TESTS
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path fill="#f00" d="M0 0H9V9Z"/></svg>'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    repository = write_style_engines(write_family(folder / "repository"))
    own = IllustratorSettings(model_repository=repository)
    illustrator = Illustrator(own, engines=with_style_engines())  # type: ignore[arg-type]
    settings = Settings(state_dir=folder / "state", jobs=JobsSettings(poll_s=0.05, progress_s=0.0))
    with listening_with_state(settings, illustrator, works=True) as address:
        yield f"http://{address}"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "garden.png"
    pixels = np.random.default_rng(0).integers(90, 220, (120, 160, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def send(page: Page, path: Path) -> None:
    page.locator("input[type=file]").first.set_input_files(str(path))


def paint_upper_left(page: Page, dialog: Locator) -> None:
    box = dialog.locator("canvas").bounding_box()
    assert box is not None
    dialog.get_by_role("slider", name="Size").fill("50")
    page.mouse.move(box["x"] + box["width"] / 5, box["y"] + box["height"] / 5)
    page.mouse.down()
    page.mouse.up()


def with_optimising_engines(page: Page) -> list[dict[str, Any]]:
    """The site seems to have engines that it lacks; what is sent for them is kept here, and goes on without."""
    orders = []

    def health(route: Route) -> None:
        answer = route.fetch()
        found = answer.json()
        found["models"]["vgg_gradient"] = {"ready": True, "latency_ms": 1, "version": "1", "reason": ""}
        route.fulfill(response=answer, json=found)

    def job(route: Route) -> None:
        body = route.request.post_data_json
        orders.append(dict(body["input"]))
        del body["input"]["iterations"]
        route.continue_(post_data=json.dumps(body))

    page.route("**/api/ai-health", health)
    page.route("**/v1/jobs", job)
    return orders


def test_a_picture_is_painted_and_compared_with_its_source(page: Page, picture: Path) -> None:
    orders = with_optimising_engines(page)
    settled(page, "/restyle")
    expect(page.get_by_role("button", name="Paint")).to_be_disabled()
    send(page, picture)
    styles = page.get_by_role("list", name="Styles")
    expect(styles.get_by_role("listitem")).to_have_count(14)
    styles.get_by_role("button", name="Swirling oil").click()
    styles.get_by_role("button", name="Mosaic").click()
    page.get_by_role("slider", name="Share of Mosaic").fill("2")
    chosen = page.get_by_role("list", name="Chosen styles")
    expect(chosen).to_contain_text("67 %")
    page.locator("input[type=file]").nth(1).set_input_files(str(picture))  # its own style, in its upper left alone
    chosen.get_by_role("button", name="where garden goes").click()
    region = page.get_by_role("dialog", name="Where garden is painted")
    paint_upper_left(page, region)
    assert violations(page) == []
    region.get_by_role("button", name="Use this mask").click()
    page.get_by_role("slider", name="How much garden covers").fill("0.5")
    page.get_by_role("radio", name="By optimisation").check(force=True)
    page.get_by_role("slider", name="Steps").fill("200")
    page.get_by_role("button", name="Paint").click()
    after = page.get_by_role("img", name="After: garden.png")
    expect(after).to_be_visible()
    assert after.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [160, 120]
    (input,) = orders
    assert [(one.get("name"), one["weight"]) for one in input["styles"]] == [("swirls", 1), ("mosaic", 2), (None, 0.5)]
    assert [sorted(one) for one in input["styles"]] == [["name", "weight"]] * 2 + [["image", "mask", "weight"]]
    mask = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(input["styles"][2]["mask"].partition(",")[2]))).convert("L")
    )
    assert (mask.shape, mask[20, 30], mask[100, 150]) == ((120, 160), 255, 0)
    assert input["iterations"] == 200
    page.get_by_role("slider", name="Before left, after right").fill("20")
    expect(page.get_by_role("link", name="Save")).to_have_attribute("download", "garden-painted.png")
    assert violations(page) == []
    assert overflow(page) == 0


def test_an_svg_stays_one(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "logo.svg"
    path.write_text(SVG)
    settled(page, "/restyle")
    send(page, path)
    page.get_by_role("button", name="Woodcut").click()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("img", name="After: logo.svg")).to_be_visible()
    expect(page.get_by_role("link", name="Save")).to_have_attribute("download", "logo-painted.svg")
