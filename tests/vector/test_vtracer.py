"""VTracer's real parameters (F7), transparency, and its statistics."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt
import pytest

from serve.errors import InvalidRequest
from serve.vector.compare import fidelity, render
from serve.vector.parameters import VTracerParameters
from serve.vector.svg import statistics
from serve.vector.trace import trace, trace_vtracer, tracer_name


def logo(alpha: int = 255) -> npt.NDArray[np.uint8]:
    """A red disc and a blue bar on a ground of ``alpha``."""
    y, x = np.mgrid[:48, :64]
    rgba = np.zeros((48, 64, 4), np.uint8)
    rgba[...] = (255, 255, 255, alpha)
    rgba[(x - 20) ** 2 + (y - 24) ** 2 < 200] = (220, 20, 30, 255)
    rgba[10:38, 40:56] = (20, 40, 200, 255)
    return rgba


def test_vtracer_draws_the_picture() -> None:
    svg = trace_vtracer(logo(), VTracerParameters())
    assert 'viewBox="0 0 64 48"' in svg
    assert fidelity(logo(), svg).ssim > 0.9
    assert statistics(svg).paths == 3


def test_every_parameter_of_the_binding_is_taken() -> None:
    """F7: the eleven names of the 0.6.15 binding, and no other."""
    names = {f.name for f in fields(VTracerParameters)}
    assert names == {
        "colormode", "hierarchical", "mode", "filter_speckle", "color_precision", "layer_difference",
        "corner_threshold", "length_threshold", "max_iterations", "splice_threshold", "path_precision",
    }  # fmt: skip


@pytest.mark.parametrize("end", ["low", "high"])
@pytest.mark.parametrize("name", [f.name for f in VTracerParameters.learned()])
def test_the_ends_of_every_range_trace(name: str, end: str) -> None:
    field = next(f for f in VTracerParameters.learned() if f.name == name)
    svg = trace_vtracer(logo(), replace(VTracerParameters(), **{name: field.metadata[end]}))
    assert render(svg, 64, 48).shape == (48, 64, 4)


@pytest.mark.parametrize(
    "changed",
    [{"color_precision": 0}, {"color_precision": 9}, {"max_iterations": 0}, {"mode": "bogus"}, {"colormode": ""},
     {"hierarchical": "x"}, {"length_threshold": float("nan")}, {"filter_speckle": True}],
)  # fmt: skip
def test_what_makes_vtracer_panic_or_guess_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        replace(VTracerParameters(), **changed)


@pytest.mark.parametrize("mode", ["spline", "polygon", "none"])
@pytest.mark.parametrize("hierarchical", ["stacked", "cutout"])
def test_modes(mode: str, hierarchical: str) -> None:
    parameters = VTracerParameters(mode=mode, hierarchical=hierarchical)  # type: ignore[arg-type]
    assert fidelity(logo(), trace_vtracer(logo(), parameters)).ssim > 0.9


def test_binary_mode_has_one_colour() -> None:
    svg = trace_vtracer(logo(), VTracerParameters(colormode="binary"))
    assert render(svg, 64, 48)[24, 48].tolist() == [0, 0, 0, 255]


def test_transparent_ground_stays_transparent() -> None:
    svg = trace_vtracer(logo(alpha=0), VTracerParameters())
    drawn = render(svg, 64, 48)
    assert drawn[2, 2, 3] == 0
    assert drawn[24, 20].tolist()[3] == 255
    assert fidelity(logo(alpha=0), svg).ssim > 0.9


def test_a_small_hole_stays_transparent() -> None:
    """VTracer alone looks for transparency on five rows only, and draws this hole in its hidden colour."""
    rgba = logo()
    rgba[14:22, 44:52] = (255, 0, 255, 0)
    drawn = render(trace_vtracer(rgba, VTracerParameters()), 64, 48)
    assert drawn[18, 48, 3] == 0
    assert drawn[2, 2].tolist() == [255, 255, 255, 255]


def test_half_transparent_pixels_fall_to_the_nearer_side() -> None:
    shadow, dense = logo(), logo()
    shadow[10:38, 40:56, 3] = 60
    dense[10:38, 40:56, 3] = 200
    assert render(trace_vtracer(shadow, VTracerParameters()), 64, 48)[24, 48, 3] == 0
    assert render(trace_vtracer(dense, VTracerParameters()), 64, 48)[24, 48, 3] == 255


@pytest.mark.parametrize("shape", [(2, 3), (4, 200)])
def test_tiny_pictures(shape: tuple[int, int]) -> None:
    svg = trace_vtracer(np.full((*shape, 4), 255, np.uint8), VTracerParameters(filter_speckle=0))
    assert render(svg, shape[1], shape[0])[0, 0].tolist() == [255, 255, 255, 255]


def test_an_empty_picture_has_no_paths() -> None:
    svg = trace_vtracer(np.zeros((20, 20, 4), np.uint8), VTracerParameters())
    assert statistics(svg).paths == 0


def test_the_type_names_the_tracer() -> None:
    assert tracer_name(VTracerParameters()) == "vtracer"
    assert trace(logo(), VTracerParameters()) == trace_vtracer(logo(), VTracerParameters())


def test_statistics() -> None:
    svg = '<svg viewBox="0 0 9 9"><path d="M0 0h9v9zM1 1c1 1 2 2 3 3 1 1 2 2 3 3"/><rect width="2" height="2"/></svg>'
    found = statistics(svg)
    assert (found.paths, found.nodes, found.bytes) == (2, 4 + 1 + 1 + 1 + 1 + 2, len(svg))
    assert 0 < statistics(svg.replace("/>", "/>" * 9)).gzip_bytes < 2 * len(svg)
