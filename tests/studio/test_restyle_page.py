"""The page Restyle in a real browser, with the real application and queue; engines are functions (C-012)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
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


def test_a_picture_is_painted_and_compared_with_its_source(page: Page, picture: Path) -> None:
    settled(page, "/restyle")
    expect(page.get_by_role("button", name="Paint")).to_be_disabled()
    send(page, picture)
    styles = page.get_by_role("list", name="Styles")
    expect(styles.get_by_role("listitem")).to_have_count(14)
    styles.get_by_role("button", name="Swirling oil").click()
    styles.get_by_role("button", name="Mosaic").click()
    page.get_by_role("slider", name="Share of mosaic").fill("2")
    page.get_by_role("button", name="Paint").click()
    after = page.get_by_role("img", name="After: garden.png")
    expect(after).to_be_visible()
    assert after.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [160, 120]
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
