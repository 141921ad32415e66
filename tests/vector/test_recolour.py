"""Pictures and SVGs in the colours of a palette."""

from __future__ import annotations

import re

import numpy as np
from pictures import drawn

from serve.vector.compare import render
from serve.vector.parameters import CoverageParameters, VTracerParameters
from serve.vector.recolour import in_palette, svg_in_palette
from serve.vector.trace import trace

PALETTE = ("#1b4332", "#ff7b00", "#fefae0")


def test_pixels_take_the_nearest_colour_and_keep_their_alpha() -> None:
    pixels = np.asarray(drawn(size=64))
    result = in_palette(pixels, PALETTE)
    assert np.array_equal(result[..., 3], pixels[..., 3])
    assert {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.unique(result[..., :3].reshape(-1, 3), axis=0)} <= {*PALETTE}


def test_traced_svg_has_the_colours_of_the_palette_alone() -> None:
    rgba = np.asarray(drawn(size=64))
    for parameters in (CoverageParameters(), VTracerParameters()):
        svg = svg_in_palette(trace(in_palette(rgba, PALETTE), parameters), PALETTE)
        assert svg.startswith("<svg")
        assert {*re.findall(r"#[0-9a-fA-F]{3,6}\b", svg)} <= {*PALETTE}
        assert svg.count("fill=") >= svg.count("<path")
        assert render(svg, 64, 64).shape == (64, 64, 4)


def test_gradients_become_flat() -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><defs><linearGradient id="a">'
        '<stop stop-color="#ff8000"/><stop offset="1" stop-color="#ff7000"/></linearGradient></defs>'
        '<path fill="url(#a)" d="M0 0h8v8H0z"/><path d="M0 0h4v4H0z"/><path fill="none" d="M0 0z"/></svg>'
    )
    result = svg_in_palette(svg, PALETTE)
    assert "Gradient" not in result
    assert re.findall(r'fill="([^"]*)"', result) == ["#ff7b00", "#1b4332", "none"]
