"""The same shape again: outlines that are nearly the same become the same, and one ``use`` where that is shorter."""

from __future__ import annotations

import numpy as np
import pytest

from loadtests.benchmarks.structure import degraded
from loadtests.vectorize.scenes import matched, primitives
from serve.security.sanitising.svg import sanitise
from serve.vector.compare import Reference, Rgba, render
from serve.vector.coverage import trace_coverage
from serve.vector.coverage.ordering import with_uses
from serve.vector.exports.formats import export
from serve.vector.finishing import Finish
from serve.vector.parameters import CoverageParameters
from serve.vector.rewrite.rewrite import Rewrite
from serve.vector.svg_reader import read

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 128 128">'
GLYPH = "c10-20 30-20 40 0s0 30-20 40s-30 10-35-5s5-25 15-35z"
PLACES = ((14, 30), (74.5, 32.3), (12.2, 86), (75, 88))
INKS = ("#d93a3a", "#d93a3a", "#d93a3a", "#2a6fdb")
GROUND = '<rect width="128" height="128" fill="#fff"/>'


def glyphs() -> str:
    paths = "".join(
        f'<path transform="translate({x} {y}) scale(.8)" d="M0 0{GLYPH}" fill="{ink}"/>'
        for (x, y), ink in zip(PLACES, INKS, strict=True)
    )
    return f"{HEAD}{GROUND}{paths}</svg>"


def traced(condition: str = "clean", **changed: int) -> tuple[str, Rgba]:
    clean = render(glyphs(), 128, 128)
    return trace_coverage(degraded(clean, condition), CoverageParameters(refine=1, **changed)), clean


def test_same_shape_again_is_one_use() -> None:
    svg, clean = traced()
    in_full, _ = traced(reuse=0)
    assert svg.count("<use") >= 2
    assert svg.count("<use") + svg.count("<path") == 5  # with the canvas
    assert svg.count("#2a6fdb") == 1
    assert len(svg) < 0.8 * len(in_full)
    assert "<use" not in in_full
    assert "<use" not in traced(shapes=0)[0]
    likeness = Reference(clean).fidelity
    assert likeness(svg).mse <= likeness(in_full).mse * 1.1


def test_shapes_that_differ_stay() -> None:
    one = '<path d="M20 20h40v40h-14v-20h-26z" fill="#d93a3a"/>'
    other = '<path d="M70 70h40v40h-14v-18h-26z" fill="#d93a3a"/>'
    svg = trace_coverage(render(f"{HEAD}{GROUND}{one}{other}</svg>", 128, 128), CoverageParameters(refine=1))
    assert "<use" not in svg
    assert svg.count("M") == 3


def rects(*fills: str) -> str:
    body = "".join(
        f'<rect fill="{fill}" x="{10 + 22.5 * i}" y="{20 + i}" width="16.5" height="40.2" rx="3.5"/>'
        for i, fill in enumerate(fills)
    )
    return f"{HEAD}{body}</svg>"


@pytest.mark.parametrize(
    "svg",
    [
        rects("#123456", "#123456", "#123456"),
        rects("#123456", "#d93a3a", "#123456"),
        rects("#123456", "#123456", "#123456").replace(' x="', ' transform="rotate(0)" x="'),
        HEAD + "".join(
            f'<path stroke="#d93a3a" fill="none" stroke-width="3" d="M{20 + 30 * i} 30l10 10 4-8 7 31"/>'
            for i in range(3)
        ) + "</svg>",
        HEAD + '<g fill="#2a6fdb"><path d="M9.5 7h20l-8.5 30-3-2z"/></g><path d="M49.5 7.5h20l-8.5 30-3-2z"/>'
        '<path fill="#fff" d="M9.5 67h20l-8.5 30-3-2z"/></svg>',
    ],
)  # fmt: skip
def test_uses_are_shorter_and_draw_the_same(svg: str) -> None:
    short = with_uses(svg, 1)
    assert short.count("<use") == 2 or "rotate(0)" in svg
    assert len(short) < len(svg) or "rotate(0)" in svg
    assert np.abs(render(short, 256, 256).astype(int) - render(svg, 256, 256)).max() <= 1


def test_turned_ones_are_the_same_about_their_own_centre() -> None:
    one = '<rect fill="#123456" x="{0}" y="20" width="30.5" height="12.4" rx="3" transform="rotate(20.05 {1} 26.2)"/>'
    svg = f"{HEAD}{one.format(10, 25.2)}{one.format(70.5, 85.7)}</svg>"
    short = with_uses(svg, 1)
    assert '<use href="#a" x="60.5"/>' in short
    assert np.abs(render(short, 256, 256).astype(int) - render(svg, 256, 256)).max() <= 1
    other = f"{HEAD}{one.format(10, 25.2)}{one.format(70.5, 80.7)}</svg>"
    assert with_uses(other, 1) == other


@pytest.mark.parametrize("paint", ["url(#g)", "#d93a3a"])
def test_gradients_do_not_move(paint: str) -> None:
    gradient = '<linearGradient id="g" gradientUnits="userSpaceOnUse" x2="128"><stop/></linearGradient>'
    svg = rects(paint, paint, paint).replace(HEAD, HEAD + gradient)
    assert ("<use" in with_uses(svg, 1)) == (paint[0] == "#")


def test_small_gain_is_none() -> None:
    dots = "".join(f'<circle cx="{20 + 40 * i}" cy="9" r="8"/>' for i in range(3))
    svg = f'{HEAD}<g fill="#d93a3a">{dots}</g></svg>'
    assert with_uses(svg, 1) == svg


def test_doors_and_exports_take_uses() -> None:
    svg, _ = traced()
    drawn = render(svg, 128, 128)
    assert len(read(svg).shapes) == 5
    assert np.abs(render(sanitise(svg.encode()).svg.decode(), 128, 128).astype(int) - drawn).max() <= 1
    for name in ("pdf", "eps", "dxf"):
        assert len(export(svg, name)) > 500
    for rewrite in (Rewrite(group_by="color"), Rewrite(stacking="cut_out"), Rewrite(curves="arcs")):
        assert np.abs(render(rewrite.apply(svg), 128, 128).astype(int) - drawn).mean() < 1


def test_palette_reaches_uses() -> None:
    svg, _ = traced()
    blue = Finish(palette=("#0000ff", "#ffffff", "#00ff00")).apply(svg)
    colors = {tuple(color) for color in render(blue, 128, 128)[[44, 100], [30, 92], :3].tolist()}
    assert (0, 0, 255) in colors
    assert "#2a6fdb" not in blue
    assert "#d93a3a" not in blue


def test_palette_keeps_the_paints_of_uses_apart() -> None:
    """Of a black shape, which has no fill of its own, and of outlines in a group of one stroke."""
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8">'
    black = f'{head}<path id="a" d="M0 0h3v3H0z"/><use href="#a" x="4" fill="#d03030"/></svg>'
    pixels = render(Finish(palette=("#000000", "#d93a3a")).apply(black), 8, 8)
    assert [pixels[1, x, :3].tolist() for x in (1, 5)] == [[0, 0, 0], [0xD9, 0x3A, 0x3A]]
    bar = '<g stroke="#d93a3a"><path id="a" fill="none" stroke-width="2" d="M0 1h3"/></g>'
    bars = f'{head}{bar}<use href="#a" x="4" stroke="#2a6fdb"/></svg>'
    pixels = render(Finish(palette=("#ff0000", "#0000ff")).apply(bars), 8, 8)
    assert [pixels[1, x, :3].tolist() for x in (1, 5)] == [[255, 0, 0], [0, 0, 255]]


def test_lowest_area_in_use_stays() -> None:
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">'
    svg = f'{head}<rect id="a" width="9" height="9"/><use href="#a" x="4"/></svg>'
    assert '<rect id="a"' in Finish(remove_background=True).apply(svg)


def test_benchmark_counts_uses() -> None:
    svg = rects("#123456", "#d93a3a", "#123456")
    assert matched(primitives(svg), primitives(with_uses(svg, 1))) == 3
