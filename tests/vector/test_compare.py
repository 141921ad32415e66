"""SSIM against its formula, rendering, and transparency (D-070: the measure every claim rests on)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import uniform_filter

from serve.vector.compare import LENIENT, Reference, composite, fidelity, mse, render, ssim

RED_SQUARE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20" width="40" height="20">'
    '<path d="M10 5h20v10h-20z" fill="#f00"/></svg>'
)


def reference_ssim(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """Wang et al. 2004 with a 7x7 uniform window and sample covariances, in float64, channel by channel."""
    c1, c2, sample = (0.01 * 255) ** 2, (0.03 * 255) ** 2, 49 / 48
    scores = []
    for x, y in zip(np.moveaxis(a.astype(float), 2, 0), np.moveaxis(b.astype(float), 2, 0), strict=True):
        ux, uy = uniform_filter(x, 7), uniform_filter(y, 7)
        vx, vy = (sample * (uniform_filter(z * z, 7) - u * u) for z, u in ((x, ux), (y, uy)))
        vxy = sample * (uniform_filter(x * y, 7) - ux * uy)
        s = ((2 * ux * uy + c1) * (2 * vxy + c2)) / ((ux**2 + uy**2 + c1) * (vx + vy + c2))
        scores.append(s[3:-3, 3:-3].mean())
    return float(np.mean(scores))


def pictures(seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 256, (9, 12, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    noisy = np.clip(blocks + rng.normal(0, 6 * seed, blocks.shape), 0, 255).astype(np.uint8)
    return blocks, noisy


@pytest.mark.parametrize("seed", [0, 1, 2, 5])
def test_ssim_equals_its_formula(seed: int) -> None:
    a, b = pictures(seed)
    assert ssim(a, b) == pytest.approx(reference_ssim(a, b), abs=1e-4)
    assert ssim(a, a) == pytest.approx(1.0, abs=1e-6)
    assert ssim(255 - a, b) == pytest.approx(reference_ssim(255 - a, b), abs=1e-4)


def test_ssim_of_flat_pictures() -> None:
    black, white = np.zeros((20, 30, 3), np.uint8), np.full((20, 30, 3), 255, np.uint8)
    assert ssim(black, white) == pytest.approx(reference_ssim(black, white), abs=1e-4)


@pytest.mark.parametrize("side", [1, 3, 6, 7])
def test_ssim_of_tiny_pictures(side: int) -> None:
    picture = np.random.default_rng(side).integers(0, 256, (side, side, 3)).astype(np.uint8)
    assert ssim(picture, picture) == pytest.approx(1.0, abs=1e-6)
    assert ssim(picture, np.zeros_like(picture)) < 0.5


def test_mse_is_of_unit_channels() -> None:
    black, white = np.zeros((5, 5, 3), np.uint8), np.full((5, 5, 3), 255, np.uint8)
    assert mse(black, white) == pytest.approx(1.0)
    assert mse(black, black + np.uint8(51)) == pytest.approx(0.04)


@pytest.mark.parametrize("size", [(40, 20), (80, 40), (160, 80), (41, 20), (30, 90)])
def test_render_fills_the_whole_size(size: tuple[int, int]) -> None:
    width, height = size
    drawn = render(RED_SQUARE, width, height)
    assert drawn.shape == (height, width, 4)
    assert drawn[height // 2, width // 2].tolist() == [255, 0, 0, 255]
    assert drawn[..., 3].mean() == pytest.approx(255 * 0.25, rel=0.01)


def test_render_keeps_straight_alpha() -> None:
    half = RED_SQUARE.replace('fill="#f00"', 'fill="#f00" fill-opacity=".5"')
    assert render(half, 40, 20)[10, 20].tolist() == [255, 0, 0, 128]


@pytest.mark.parametrize(
    "inside",
    [
        '<image href="/etc/hostname" width="9" height="9"/>',
        '<use xlink:href="other.svg#a"/>',
        "<use href='file:///etc/passwd'/>",
        "<style>@import url(x.css)</style>",
    ],
)
def test_render_refuses_what_lies_outside_the_document(inside: str) -> None:
    with pytest.raises(ValueError, match="outside"):
        render(RED_SQUARE.replace("</svg>", inside + "</svg>"), 40, 20)


@pytest.mark.parametrize("text", ["", "junk", "<svg>", "<!DOCTYPE svg [<!ENTITY a 'b'>]><svg viewBox='0 0 1 1'/>"])
def test_render_of_what_is_not_svg(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        render(text, 10, 10)


def test_composite_rounds_and_ignores_hidden_colour() -> None:
    rgba = np.array([[[200, 100, 0, 255], [9, 9, 9, 0], [0, 0, 0, 128]]], np.uint8)
    assert composite(rgba).tolist() == [[[200, 100, 0], [255, 255, 255], [127, 127, 127]]]
    assert composite(rgba, (0, 0, 0)).tolist() == [[[200, 100, 0], [0, 0, 0], [0, 0, 0]]]


def test_fidelity_of_the_same_drawing_is_one() -> None:
    drawn = render(RED_SQUARE, 40, 20)
    found = fidelity(drawn, RED_SQUARE)
    assert found.ssim == pytest.approx(1.0, abs=1e-5)
    assert found.mse == 0.0


def test_filled_in_transparency_is_punished() -> None:
    drawn = render(RED_SQUARE, 40, 20)
    for colour in ("#fff", "#000"):
        filled = RED_SQUARE.replace("<path", f'<path d="M0 0h40v20h-40z" fill="{colour}"/><path', 1)
        assert fidelity(drawn, filled).ssim < 0.8
    opaque = drawn.copy()
    opaque[..., :3] = composite(drawn)
    opaque[..., 3] = 255
    assert fidelity(opaque, RED_SQUARE).ssim == pytest.approx(1.0, abs=1e-5)


def test_a_reference_judges_as_fidelity_does() -> None:
    drawn = render(RED_SQUARE, 40, 20)
    other = RED_SQUARE.replace("h20v10", "h18v10")
    assert Reference(drawn).fidelity(other) == fidelity(drawn, other)


def test_noise_in_a_flat_area_hardly_counts_when_lenient() -> None:
    rng = np.random.default_rng(2)
    flat = np.full((60, 60, 3), 120, np.uint8)
    noisy = np.clip(flat + rng.normal(0, 4, flat.shape), 0, 255).astype(np.uint8)
    shifted = np.full((60, 60, 3), 150, np.uint8)
    assert ssim(flat, noisy) < 0.9
    assert ssim(flat, noisy, LENIENT) > 0.96
    assert ssim(flat, shifted, LENIENT) < 0.99
