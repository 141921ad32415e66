"""The coverage tracer where there is little to see: thin lines, small areas, near colours, and noise."""

import io

import numpy as np
import pytest
from PIL import Image

from serve.vector.compare import composite, render, ssim
from serve.vector.coverage import trace_coverage
from serve.vector.coverage.flat import block_mask, flat_mask, premultiply
from serve.vector.coverage.palette import fade, find_palette, median_colors, unfade
from serve.vector.parameters import CoverageParameters
from serve.vector.svg import count_paths

NOISY = CoverageParameters(denoise=24.0, flatness=20.0, palette_distance=0.065, max_colors=16, refine=1)


def drawn(body: str, width: int, height: int, back: str = "#fff"):
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
    return render(f'{svg}<rect width="{width}" height="{height}" fill="{back}"/>{body}</svg>', width, height)


def as_jpeg(rgba, quality: int):
    buffer = io.BytesIO()
    Image.fromarray(composite(rgba)).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(buffer).convert("RGBA"))


def ink(rgba) -> float:
    """What is not white, in pixels."""
    return float((255 - composite(rgba)[..., 0].astype(float)).sum() / 255)


def traced(rgba, parameters: CoverageParameters):
    return render(trace_coverage(rgba, parameters), rgba.shape[1], rgba.shape[0])


@pytest.mark.parametrize("stroke", [0.4, 0.6, 0.8])
@pytest.mark.parametrize("at", [10.0, 10.25, 10.5])
def test_a_line_thinner_than_a_pixel_keeps_its_ink(stroke, at):
    """No pixel of such a line need be covered by half."""
    line = f'<path d="M6 {at}H58M{at + 8} 16V44" stroke="#000" stroke-width="{stroke}"/>'
    rgba = drawn(line, 64, 48)
    result = traced(rgba, CoverageParameters(refine=3))
    assert ink(result) == pytest.approx(ink(rgba), rel=0.15)
    assert ssim(composite(result), composite(rgba)) > 0.97


def test_a_thin_gap_stays_open():
    rgba = drawn('<path d="M8 8h20.7v30H8zM29.3 8H56v30H29.3z"/>', 64, 48)
    assert ink(traced(rgba, CoverageParameters(refine=3))) == pytest.approx(ink(rgba), rel=0.01)
    assert trace_coverage(rgba, CoverageParameters()).count("M") > 1


def test_small_lettering_stays_legible():
    """A slanted, broken and round stroke of 0.7 px."""
    strokes = (
        '<path d="M6 30 14 8l8 22M9 22h10" {0}/><circle cx="36" cy="19" r="9.3" {0}/><path d="M52 8v22l9-12" {0}/>'
    )
    rgba = drawn(strokes.format('fill="none" stroke="#222" stroke-width=".7"'), 68, 40)
    assert ssim(composite(traced(rgba, CoverageParameters(refine=3))), composite(rgba)) > 0.93


def test_a_line_of_two_pixels_keeps_its_own_colour():
    """Every pixel of it touches an edge, and its colour is just between the two beside it."""
    rgba = drawn(
        '<rect x="20" y="10" width="2" height="40" fill="#f58a96"/><path d="M22 10h18v40H22z" fill="#eb152d"/>', 60, 60
    )
    pixels = premultiply(rgba)
    assert flat_mask(pixels, 8.0)[30, 20] == 0
    assert block_mask(pixels, 8.0)[30, 20] == 1
    assert "#f58a96" in trace_coverage(rgba, CoverageParameters())


def test_black_of_a_jpeg_is_black():
    """Noise is cut off at 0, so the mean of a noisy black is dark grey, which SSIM sees best of all."""
    clean = drawn('<circle cx="64" cy="48" r="34"/>', 128, 96)
    for quality in (60, 75, 90):
        noisy = as_jpeg(clean, quality)
        result = composite(traced(noisy, NOISY))
        assert result[48, 64].tolist() == [0, 0, 0]
        assert result[4, 4].tolist() == [255, 255, 255]
        assert ssim(result, composite(clean)) > 0.98


def test_median_colours():
    rng = np.random.default_rng(7)
    pixels = np.clip(rng.normal([0, 128, 250, 255], [4, 4, 4, 0], (40, 40, 4)), 0, 255).astype(np.float32)
    pixels[..., 3] = 255
    found = median_colors(pixels, np.zeros((40, 40), np.int16), pixels.mean((0, 1))[None])
    assert found[0] == pytest.approx([0, 128, 250, 255], abs=1)


def test_colour_of_rims_in_a_jpeg_is_no_colour_of_the_picture():
    """Chroma at half of the resolution leaves rims of false colour at edges."""
    clean = drawn('<path d="M20 20h70v50H20z" fill="#0b5cff"/>', 112, 90)
    svg = trace_coverage(as_jpeg(clean, 60), NOISY)
    assert count_paths(svg) == 2


def test_faded_colours_come_back():
    colors = np.random.default_rng(3).uniform(0, 255, (9, 4)).astype(np.float32)
    assert unfade(fade(colors)) == pytest.approx(colors, abs=1e-2)
    grey = np.array([[40, 40, 40, 255]], np.float32)
    assert fade(grey) == pytest.approx(grey, abs=1e-3)


def test_near_colours_of_large_areas_are_both_kept():
    rgba = drawn('<path d="M0 0h60v80H0z" fill="#ff8200"/><path d="M60 0h60v80H60z" fill="#ff7518"/>', 120, 80)
    pixels = premultiply(rgba)
    assert len(find_palette(pixels, flat_mask(pixels, 8.0), 0.04, 24)) == 2


def test_gradients_that_run_into_each_other_are_parted():
    """The colour changes by less than the flatness where they meet, so they are one smooth area, which none fits."""
    y, x = np.mgrid[0:96, 0:96].astype(np.float32)
    rgba = np.full((96, 96, 4), 255, np.uint8)
    left = 200 - np.stack([y, 1.1 * y, 0.9 * y], 2)
    right = left + np.array([6, -6, 6])
    rgba[..., :3] = np.where(x[..., None] < 48, left, right)
    svg = trace_coverage(rgba, CoverageParameters(gradient_rms=3.0))
    assert svg.count("<linearGradient") == 2
    assert ssim(composite(render(svg, 96, 96)), composite(rgba)) > 0.99
