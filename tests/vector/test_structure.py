"""What a picture is made of is counted right, and the same when the picture is degraded."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from serve.vector.structure import AREA_SHARES, EDGE_STEPS, STRUCTURE, VISIBLE_STEPS, Structure, structure_of

Rgba = npt.NDArray[np.uint8]
COLORS = ((220, 30, 40), (20, 90, 200), (250, 200, 20), (30, 140, 60))


def opaque(rgb: npt.NDArray[np.uint8]) -> Rgba:
    return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])


def tiles(side: int = 256) -> Rgba:
    """Sixteen squares in four colours on white."""
    rgb, step = np.full((side, side, 3), 255, np.uint8), side // 4
    for i in range(16):
        y, x = (step * (i // 4) + step // 6, step * (i % 4) + step // 6)
        rgb[y : y + step * 2 // 3, x : x + step * 2 // 3] = COLORS[i % 4]
    return opaque(rgb)


def word(letters: int) -> Rgba:
    """Bars of one height beside each other, which is what a word comes to."""
    rgb = np.full((64, 40 * letters + 20, 3), 255, np.uint8)
    for i in range(letters):
        rgb[16:48, 40 * i + 20 : 40 * i + 40] = (10, 20, 60)
    return opaque(rgb)


def ramp() -> Rgba:
    """A disc that runs from dark to light, on white."""
    rgb = np.full((256, 256, 3), 255, np.uint8)
    inside = np.zeros((256, 256), np.uint8)
    cv2.circle(inside, (128, 128), 100, 1, -1)
    rgb[inside > 0] = np.linspace(20, 200, 256).astype(np.uint8)[None, :, None].repeat(256, 0).repeat(3, 2)[inside > 0]
    return opaque(rgb)


def jpeg(rgba: Rgba, quality: int) -> Rgba:
    _, data = cv2.imencode(".jpg", rgba[..., :3], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return opaque(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8))


def noisy(rgba: Rgba) -> Rgba:
    noise = np.random.default_rng(0).normal(0, 6, (*rgba.shape[:2], 3))
    return opaque(np.clip(rgba[..., :3] + noise, 0, 255).astype(np.uint8))


def varied(found: Structure, edge_step: int, step: int) -> float:
    return found.varied[EDGE_STEPS.index(edge_step) * len(VISIBLE_STEPS) + VISIBLE_STEPS.index(step)]


def test_areas_and_colours_are_counted() -> None:
    found = structure_of(tiles())
    assert found.parts == (16, 16)
    assert found.colors == (5, 5, 5)
    assert found.shades == (5, 5)
    assert found.areas == (17, 17, 17, 17)
    assert found.segments == found.areas * len(EDGE_STEPS)
    assert found.background == (1, 1)
    assert 1.5 < found.color_entropy < 2.33
    assert (found.aspect, found.border_clear, found.border_same) == (0, 0, 1)


@pytest.mark.parametrize(
    "degraded", [jpeg(tiles(), 70), noisy(tiles()), opaque(cv2.GaussianBlur(tiles()[..., :3], (0, 0), 1.2))]
)
def test_degrading_changes_no_count_of_what_is_large(degraded: Rgba) -> None:
    """D-012: what decides between simple and complex can be counted in a bad copy."""
    found, clean = structure_of(degraded), structure_of(tiles())
    at = AREA_SHARES.index(0.01)
    assert found.areas[at] == clean.areas[at]
    assert found.segments[-1] == clean.segments[-1]
    assert found.colors[-1] == clean.colors[-1]
    assert found.parts == clean.parts


def test_counts_do_not_depend_on_the_size_in_pixels() -> None:
    small, large = structure_of(tiles(96)), structure_of(tiles(1200))
    assert small.areas == large.areas
    assert small.colors == large.colors


def test_glyphs_of_a_word() -> None:
    assert structure_of(word(6)).glyphs == 6
    assert structure_of(word(6)).aspect == pytest.approx(np.log2(260 / 64))
    assert structure_of(ramp()).glyphs == 1


def test_a_gradient_is_one_segment_that_varies() -> None:
    found = structure_of(ramp())
    assert found.segments[: len(AREA_SHARES)] == (2,) * len(AREA_SHARES)
    assert varied(found, 10, 10) > 0.7
    assert varied(structure_of(jpeg(ramp(), 80)), 20, 10) > 0.7
    assert varied(structure_of(tiles()), 10, 6) == 0
    assert varied(structure_of(noisy(tiles())), 20, 16) < 0.02


def test_holes_are_parts_of_the_background() -> None:
    rgba = opaque(np.full((128, 128, 3), 255, np.uint8))
    cv2.circle(rgba, (64, 64), 40, (200, 20, 20, 255), 18)
    assert structure_of(rgba).background == (2, 2)
    clear = rgba.copy()
    clear[(rgba[..., :3] == 255).all(-1), 3] = 0
    found = structure_of(clear)
    assert (found.background, found.parts, found.border_clear) == ((2, 2), (1, 1), 1)
    assert found.colors == (1, 1, 1)


def test_what_lies_under_alpha_zero_does_not_matter() -> None:
    clean, dirty = tiles(300), tiles(300)
    for rgba, hidden in ((clean, 0), (dirty, 200)):
        rgba[:90, :90] = (hidden, 255 - hidden, hidden, 0)
    assert structure_of(clean) == structure_of(dirty)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 500), (7, 7), (63, 65), (600, 40), (1500, 1400)])
def test_every_size_gives_the_network_its_shape(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    for rgba in (rng.integers(0, 256, (*shape, 4)).astype(np.uint8), np.zeros((*shape, 4), np.uint8)):
        vector = structure_of(rgba).to_vector()
        assert (vector.shape, vector.dtype.name) == ((STRUCTURE,), "float32")
        assert np.isfinite(vector).all()
        assert np.array_equal(vector, structure_of(rgba.copy()).to_vector())
