"""Contact sheets: every method a column, every icon a row."""

from __future__ import annotations

import numpy as np
import pytest

from build_engines.data import Icon
from loadtests.benchmarks.gallery import MARGIN_PX, ZOOM, checkered, sheet
from loadtests.vectorize.dataset import Picture
from loadtests.vectorize.methods import Function, vtracer_method
from serve.vector.compare import render
from serve.vector.parameters import VTracerParameters

BODY = '<rect x="1" y="1" width="6" height="2" fill="#00695c"/>'
SOURCE = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 4">{BODY}</svg>'


@pytest.fixture
def picture() -> Picture:
    pixels = render(SOURCE, 64, 32)
    return Picture(Icon("drawn", "bar", BODY, (0, 0, 8, 4)), "transparent", pixels, pixels, SOURCE)


def test_sheet_has_a_column_for_the_input_and_each_method(picture: Picture) -> None:
    methods = [
        Function("original", "source", lambda p: p.svg),
        vtracer_method("vtracer", "VTracer", VTracerParameters()),
    ]
    shown = sheet([picture, picture], methods)
    assert shown.width == 3 * 64 * ZOOM + 4 * MARGIN_PX
    colours = np.asarray(shown).reshape(-1, 3)
    assert (colours == (0, 0x69, 0x5C)).all(axis=1).mean() > 0.2, "the bar is drawn in every panel"


def test_crop_enlarges_nothing_and_cuts_to_its_share(picture: Picture) -> None:
    shown = sheet([picture], [], crop=(0.25, 0.0, 0.75, 1.0))
    assert shown.width == 32 * ZOOM + 2 * MARGIN_PX


def test_transparency_shows_as_a_chequerboard() -> None:
    board = np.asarray(checkered(np.zeros((64, 64, 4), np.uint8)).convert("RGB"))
    assert set(np.unique(board)) == {232, 255}


def test_method_that_cannot_run_gives_the_reason(picture: Picture) -> None:
    absent = Function("gone", "gone", lambda p: p.svg, absent=lambda: "no program `gone`")
    with pytest.raises(SystemExit, match="gone: no program `gone`"):
        sheet([picture], [absent])
