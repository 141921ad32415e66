"""The coverage tracer on pictures whose right answer is known."""

import re

import numpy as np
import pytest

from serve.errors import InvalidRequest
from serve.vector.compare import composite, render, ssim
from serve.vector.coverage import draw_coverage, trace_coverage, warm
from serve.vector.coverage.kernel import KERNELS
from serve.vector.parameters import CoverageParameters, VTracerParameters
from serve.vector.svg import statistics
from serve.vector.trace import trace_vtracer

SOURCE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 160">
<defs><linearGradient id="g" x1="0" y1="0" x2="1" y2="0"><stop stop-color="#1463ff"/>
<stop offset="1" stop-color="#20e3b2"/></linearGradient></defs><rect width="200" height="160" fill="{back}"/>
<rect x="20.3" y="18.6" width="150" height="118" rx="22" fill="url(#g)"/>
<circle cx="70.4" cy="76.7" r="31.5" fill="#ffd23f"/><path d="M90 120 150 30l22 96z" fill="#c1121f"/></svg>"""


def picture(back: str = "#fff", width: int = 200, height: int = 160):
    return render(SOURCE.format(back=back), width, height)


def score(rgba, svg, background=(255, 255, 255)):
    height, width = rgba.shape[:2]
    return ssim(composite(rgba, background), composite(render(svg, width, height), background))


def test_nearly_exact_on_clean_art_with_few_paths():
    """D-051: most of the error of VTracer's defaults is gone, at fewer bytes."""
    rgba = picture()
    svg = trace_coverage(rgba, CoverageParameters(refine=1))
    stock = trace_vtracer(rgba, VTracerParameters())
    assert score(rgba, svg) > 0.99
    assert 1 - score(rgba, svg) < 0.2 * (1 - score(rgba, stock))
    assert statistics(svg).paths <= 6
    assert len(svg) < 0.5 * len(stock)


def test_gradient_becomes_one_paint():
    svg = trace_coverage(picture(), CoverageParameters())
    assert svg.count("<linearGradient") == 1
    assert trace_coverage(picture(), CoverageParameters(gradient_rms=0.0)).count("Gradient") == 0


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.slow
def test_a_drawing_saves_work_and_changes_nothing(dense):
    """What is too dense is traced at a reduced size, and so is its drawing."""
    rgba = np.random.default_rng(3).integers(0, 256, (256, 256, 4), np.uint8) if dense else picture()
    first, more = CoverageParameters(denoise=8.0, refine=1), CoverageParameters(denoise=8.0, refine=3)
    _, drawing = draw_coverage(rgba, first)
    assert (drawing.size != rgba.shape[1::-1]) == dense
    assert draw_coverage(rgba, more, drawing)[0] == trace_coverage(rgba, more)


def test_refinement_helps():
    rgba = picture()
    plain, refined = (score(rgba, trace_coverage(rgba, CoverageParameters(refine=r))) for r in (0, 3))
    assert refined > plain


def test_transparent_stays_transparent():
    """USERS_ASK 14: what is clear in the picture is clear in the SVG, and edges blend on any background."""
    rgba = picture(back="none")
    svg = trace_coverage(rgba, CoverageParameters())
    drawn = render(svg, 200, 160)
    assert drawn[2, 2, 3] == 0
    assert drawn[157, 197, 3] == 0
    assert np.abs(drawn[..., 3].astype(int) - rgba[..., 3]).mean() < 1.0
    for background in ((255, 255, 255), (0, 0, 0), (90, 140, 200)):
        assert score(rgba, svg, background) > 0.98


def test_soft_shadow_keeps_its_alpha():
    y, x = np.mgrid[0:160, 0:160].astype(np.float32)
    alpha = np.clip(1.2 - np.hypot(x - 80, y - 80) / 60, 0, 0.6)
    rgba = np.zeros((160, 160, 4), np.uint8)
    rgba[..., 3] = np.round(alpha * 255)
    svg = trace_coverage(rgba, CoverageParameters())
    drawn = render(svg, 160, 160)
    assert "stop-opacity" in svg
    assert np.abs(drawn[..., 3].astype(int) - rgba[..., 3]).mean() < 3.0


def test_fully_transparent_draws_nothing():
    svg = trace_coverage(np.zeros((40, 30, 4), np.uint8), CoverageParameters())
    assert statistics(svg).paths == 0
    assert 'viewBox="0 0 30 40"' in svg


def test_one_colour_is_one_rectangle():
    rgba = np.full((50, 70, 4), 255, np.uint8)
    assert trace_coverage(rgba, CoverageParameters()).endswith('<path fill="#fff" d="M0 0h70v50H0z"/></svg>')


def test_no_gaps_between_neighbours():
    """Nothing of the background shows along the seam of two areas that touch."""
    rgba = np.full((64, 64, 4), 255, np.uint8)
    rgba[:, :30, :3], rgba[:, 30:, :3] = (200, 20, 20), (20, 20, 200)
    drawn = render(trace_coverage(rgba, CoverageParameters()), 64, 64)
    assert drawn[..., 3].min() == 255


def test_thin_lines_are_one_colour():
    """A 2 px line is one stroke, not stripes of the colours it blends with."""
    source = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 120">
<rect width="120" height="120" fill="#fff"/>
<rect width="120" height="30" fill="#888"/><rect y="90" width="120" height="30" fill="#999"/>
<path d="M20 20 95 105" stroke="#888" stroke-width="2"/></svg>"""
    svg = trace_coverage(render(source, 120, 120), CoverageParameters())
    assert svg.count("M") <= 8


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (16, 16), (17, 300)])
def test_small_and_narrow_pictures_trace(size):
    rgba = np.full((*size, 4), 255, np.uint8)
    rgba[..., :3] = (10, 120, 200)
    drawn = render(trace_coverage(rgba, CoverageParameters()), size[1], size[0])
    assert np.abs(drawn.astype(int) - rgba).max() <= 2


def test_large_picture_keeps_its_view_box():
    rgba = picture(width=2000, height=1600)
    svg = trace_coverage(rgba, CoverageParameters())
    assert 'viewBox="0 0 2000 1600"' in svg
    assert "scale(" in svg
    assert ssim(composite(picture()), composite(render(svg, 200, 160))) > 0.98


def test_texture_is_bounded():
    """USERS_ASK 14: noise costs no more than a bounded number of contours, and opaque stays opaque."""
    rgba = np.random.default_rng(0).integers(0, 256, (300, 300, 4), np.uint8)
    rgba[..., 3] = 255
    svg = trace_coverage(rgba, CoverageParameters())
    assert svg.count("M") <= 1500
    assert np.mean(render(svg, 75, 75)[..., 3] > 250) > 0.99


@pytest.mark.parametrize("most", [1, 2, 3, 6])
def test_path_budget_takes_colours_and_leaves_no_holes(most):
    """USERS_ASK 14: ``max_paths`` bounds the path elements; what they drew goes to other colours."""
    rng = np.random.default_rng(3)
    tiles = rng.integers(0, 256, (12, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    rgba = np.dstack([tiles, np.full(tiles.shape[:2], 255, np.uint8)])
    svg = trace_coverage(rgba, CoverageParameters(max_paths=most))
    assert statistics(svg).paths <= most
    if most > 1:
        assert np.mean(render(svg, 96, 96)[..., 3] > 250) > 0.97


def test_path_budget_spares_what_is_within_it():
    rgba = picture()
    assert trace_coverage(rgba, CoverageParameters(max_paths=8)) == trace_coverage(rgba, CoverageParameters())


def test_gradient_beside_texture_traces():
    """Pixels with no flat area near them find a colour also where all flat areas are gradients."""
    rgba = np.full((60, 90, 4), 255, np.uint8)
    rgba[..., 0] = np.linspace(0, 255, 90).astype(np.uint8)
    rgba[..., 1:3] = 40
    rgba[20:23, 40:44, :3] = np.random.default_rng(4).integers(0, 256, (3, 4, 3), np.uint8)
    assert score(rgba, trace_coverage(rgba, CoverageParameters())) > 0.9


def test_noise_is_smoothed_by_the_parameters_for_it():
    rgba = picture()
    noisy = rgba.copy()
    noise = np.random.default_rng(1).normal(0, 9, (*rgba.shape[:2], 3))
    noisy[..., :3] = np.clip(rgba[..., :3] + noise, 0, 255)
    rough = trace_coverage(noisy, CoverageParameters())
    smooth = trace_coverage(noisy, CoverageParameters(denoise=30, flatness=20, min_area=4))
    assert score(rgba, smooth) > score(rgba, rough)
    assert len(smooth) < len(rough)


def test_same_picture_and_parameters_give_the_same_text():
    parameters = CoverageParameters(denoise=10, refine=1)
    assert trace_coverage(picture(), parameters) == trace_coverage(picture(), parameters)


def test_decimals_are_respected():
    numbers = re.findall(
        r"\.(\d+)", " ".join(re.findall(r' d="([^"]*)"', trace_coverage(picture(), CoverageParameters())))
    )
    assert numbers
    assert max(map(len, numbers)) == 1
    whole = trace_coverage(picture(), CoverageParameters(decimals=0))
    assert "." not in "".join(re.findall(r' d="([^"]*)"', whole))


def test_tracing_compiles_nothing_after_warming():
    """Compilation never happens inside a request."""
    warm()
    before = [len(k.signatures) for k in KERNELS]
    rng = np.random.default_rng(2)
    pictures = [
        picture(),
        picture(back="none"),
        rng.integers(0, 256, (90, 70, 4), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
    ]
    for rgba in pictures:
        for refine in (0, 2):
            trace_coverage(rgba, CoverageParameters(denoise=20.0 if refine else 0.0, refine=refine))
            trace_coverage(np.ascontiguousarray(rgba[::2, ::2]), CoverageParameters(gradient_rms=0.0))
    assert [len(k.signatures) for k in KERNELS] == before


def test_parameters_out_of_range_name_their_field():
    with pytest.raises(InvalidRequest) as caught:
        CoverageParameters(tolerance=5.0)
    assert caught.value.field == "tolerance"
    assert caught.value.status == 400
    with pytest.raises(InvalidRequest):
        CoverageParameters(flatness=float("nan"))
