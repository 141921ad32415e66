"""Whole shapes: circles, ellipses, rectangles, rings and bars are found as such, and nothing else is taken for one."""

import re

import numpy as np
import pytest

from loadtests.benchmarks.structure import degraded
from loadtests.vectorize.scenes import SIDE, matched, primitives, scenes
from serve.vector.compare import composite, render, ssim
from serve.vector.coverage import trace_coverage
from serve.vector.coverage.lines import find_lines
from serve.vector.coverage.paints import LINEAR, MAX_STOPS, PaintTable
from serve.vector.coverage.primitives import CIRCLE, ELLIPSE, RECT, Primitive, distance, flattened, stroke_width
from serve.vector.coverage.writer import Shape, to_svg
from serve.vector.parameters import CoverageParameters
from serve.vector.svg import statistics

HEAD = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}">'
GROUND = f'<rect width="{SIDE}" height="{SIDE}" fill="#fff"/>'
JPEG = CoverageParameters(denoise=24.0, flatness=20.0, palette_distance=0.065, max_colors=16, refine=1)


def source(name: str) -> str:
    return next(scene.svg for scene in scenes() if scene.name == name)


def traced(svg: str, condition: str = "clean") -> str:
    parameters = CoverageParameters(refine=1) if condition == "clean" else JPEG
    return trace_coverage(degraded(render(svg, SIDE, SIDE), condition), parameters)


@pytest.mark.parametrize("name", ["dots", "ellipses", "cards", "rings", "frames", "turned", "capsules"])
@pytest.mark.parametrize("condition", ["clean", "JPEG 75 4:2:0"])
def test_shapes_of_scenes_are_found_whole(name, condition):
    wanted, svg = primitives(source(name)), traced(source(name), condition)
    found = primitives(svg)
    assert matched(wanted, found) >= 0.9 * len(wanted)
    assert len(found) <= 1.1 * len(wanted)
    assert ssim(composite(render(svg, SIDE, SIDE)), composite(render(source(name), SIDE, SIDE))) > 0.99


def test_shape_below_another_is_completed():
    """The yellow circle lies below two rectangles and another circle, and is one circle."""
    svg = traced(source("overlaps"))
    circles = [p for p in primitives(svg) if p.kind == "circle"]
    assert matched(primitives(source("overlaps")), circles) == 2


@pytest.mark.parametrize(
    "body",
    [
        '<path d="M128 128L190 40A108 108 0 1 0 216 190z" fill="#d93a3a"/>',  # a circle with a bite
        '<path d="M40 220V120L216 60V220z" fill="#d93a3a"/>',  # a rectangle with a sloping side
        '<path d="M40 40h176v140h-60v30h-40v-30H40z" fill="#d93a3a"/>',  # a rectangle with a tab
    ],
)
def test_other_shapes_are_no_whole_shapes(body):
    svg = traced(HEAD + GROUND + body + "</svg>")
    assert primitives(svg) == []


def test_shape_does_not_lose_what_shows_beside_it():
    """Most of the lower area's outline is hidden; what shows of it is no rectangle."""
    body = (
        '<path d="M32 224V180L84 138L158 148L224 88V224z" fill="#00bcd4"/>'
        '<path d="M224 32L160 91L86 54L32 134V180L85 138L159 148L224 99z" fill="#3f51b5"/>'
    )
    svg = traced(HEAD + GROUND + body + "</svg>")
    clean = composite(render(HEAD + GROUND + body + "</svg>", SIDE, SIDE))
    assert ssim(composite(render(svg, SIDE, SIDE)), clean) > 0.998


def test_elements_stay_within_max_paths():
    rgba = render(source("dots"), SIDE, SIDE)
    svg = trace_coverage(rgba, CoverageParameters(max_paths=6))
    assert statistics(svg).paths <= 6


def test_ring_has_a_stroke_and_equal_fills_stand_once():
    svg = traced(source("rings"))
    assert svg.count('fill="none"') == 5
    assert svg.count("stroke-width") == 5
    fills = re.findall(r'fill="(#\w+)"', traced(source("stripes")))
    assert len(fills) == len(set(fills))


def test_arcs_in_a_path_are_whole_ellipses():
    """Two circles cut out of one area are subpaths of two arcs each."""
    body = (
        '<path fill-rule="evenodd" fill="#2a6fdb" d="M20 60L236 40L216 216L40 200z'
        'M110 120a30 30 0 1 0-60 0a30 30 0 1 0 60 0zM200 130a24 24 0 1 0-48 0a24 24 0 1 0 48 0z"/>'
    )
    svg = traced(HEAD + GROUND + body + "</svg>")
    assert svg.count("a30") == 2
    assert svg.count("a24") == 2
    clean = composite(render(HEAD + GROUND + body + "</svg>", SIDE, SIDE))
    assert ssim(composite(render(svg, SIDE, SIDE)), clean) > 0.998


@pytest.mark.parametrize("kind", [CIRCLE, ELLIPSE, RECT])
def test_outline_is_at_distance_zero(kind):
    values = np.array([50.0, 40, 30, 30 if kind == CIRCLE else 18, 0.4, 6])
    shape = Primitive(kind, values)
    assert max(abs(distance(kind, values, x, y)) for x, y in flattened(shape)) < 0.06


def test_stroke_has_parallel_edges():
    outer = Primitive(RECT, np.array([50.0, 50, 40, 30, 0, 12]))
    assert stroke_width(outer, Primitive(RECT, np.array([50.0, 50, 34, 24, 0, 6]))) == pytest.approx(6)
    assert stroke_width(outer, Primitive(RECT, np.array([50.0, 50, 34, 20, 0, 6]))) is None
    assert stroke_width(outer, Primitive(RECT, np.array([52.0, 50, 34, 24, 0, 6]))) is None
    assert stroke_width(outer, Primitive(CIRCLE, np.array([50.0, 50, 20, 20, 0, 0]))) is None


@pytest.mark.parametrize("condition", ["clean", "JPEG 75 4:2:0", "JPEG 60 4:2:0"])
def test_straight_sides_stay_straight(condition):
    """A circle, a square and a triangle: 4 nodes for the triangle, and at most one more at its tip."""
    svg = traced(source("three"), condition)
    assert svg.count("<rect") == svg.count("<circle") == 1
    assert "c" not in re.findall(r'fill="#\w+" d="([^"]*)"', svg)[-1]
    assert statistics(svg).nodes <= 17


def test_polygons_have_their_corners_alone():
    svg, wanted = traced(source("polygons")), statistics(source("polygons"))
    assert statistics(svg).nodes <= 1.2 * wanted.nodes


def test_gentle_curves_are_no_lines():
    t = np.linspace(0, 2 * np.pi, 900, endpoint=False)
    contour = np.stack([300 + 200 * np.cos(t), 300 + 280 * np.sin(t), np.ones(900)], 1)
    assert len(find_lines(contour, 1.0)) == 0


def drawing(kind: int, values: list[float], paint: int, inner: list[float] | None = None) -> Shape:
    wholes: list[Primitive | None] = [Primitive(kind, np.array(v)) for v in (values, inner) if v is not None]
    return Shape(paint, [w.to_segments() for w in wholes if w], wholes)


def left_to_right(side: float) -> PaintTable:
    """A linear gradient from black to white over ``side`` pixels."""
    colors = np.full((1, MAX_STOPS, 4), 255, np.float32)
    colors[0, 0, :3] = 0
    offsets = np.zeros((1, MAX_STOPS), np.float32)
    offsets[0, 1] = 1
    geometry = np.array([[1, 0, 0, side]], np.float32)
    return PaintTable(np.array([LINEAR], np.int8), geometry, np.array([2], np.int32), offsets, colors)


@pytest.mark.parametrize(
    ("kind", "values", "inner"),
    [
        (RECT, [50, 50, 40, 20, 0.52, 0], None),
        (RECT, [50, 50, 40, 25, 0.52, 8], [50, 50, 30, 15, 0.52, 0]),
        (ELLIPSE, [50, 50, 40, 20, 0.52, 0], None),
        (ELLIPSE, [50, 50, 40, 24, 0.52, 0], [50, 50, 36, 20, 0.52, 0]),
    ],
)
def test_gradient_is_not_turned_with_its_shape(kind, values, inner):
    svg = to_svg([drawing(kind, values, 0, inner)], left_to_right(100), (100, 100), (100, 100), 1)
    rgba = render(svg, 100, 100)
    y, x = np.nonzero(rgba[..., 3] == 255)
    assert len(x) > 500
    assert np.abs(rgba[y, x, 0] - (x + 0.5) * 2.55).max() < 3


def test_long_turned_bar_ends_where_it_should():
    solid = PaintTable.solid(np.array([[255, 0, 0, 255]], np.float32))
    values = [700.0, 400, 650, 270, np.radians(20.049), 30]
    svg = to_svg([drawing(RECT, values, 0)], solid, (1400, 800), (1400, 800), 1)
    turn = float(re.search(r"rotate\((\S+)", svg).group(1))
    assert abs(np.radians(turn - 20.049)) * np.hypot(650, 270) < 0.06


@pytest.mark.parametrize(("size", "radius"), [(256, 30), (64, 10), (48, 3)])
def test_transparent_corners_stay(size, radius):
    body = f'<rect width="{size}" height="{size}" rx="{radius}" fill="#2a6fdb"/>'
    rgba = render(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}">{body}</svg>', size, size)
    svg = trace_coverage(rgba, CoverageParameters(refine=1))
    difference = np.abs(render(svg, size, size)[..., 3].astype(int) - rgba[..., 3])
    assert difference.mean() < 2
    assert difference[[0, 0, -1, -1], [0, -1, 0, -1]].max() < 16


def test_translucent_shape_at_the_edge_is_not_below_a_canvas():
    body = '<rect width="96" height="96" fill="#fff"/><path d="M40 96a8 8 0 0 1 16 0z" fill="#2a6fdb"/>'
    rgba = render(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96">{body}</svg>', 96, 96)
    rgba[(rgba[..., 0] < 250)] = (42, 111, 219, 128)
    drawn = render(trace_coverage(rgba, CoverageParameters(refine=1)), 96, 96)
    assert abs(int(drawn[94, 48, 3]) - 128) < 12


@pytest.mark.parametrize("size", [(5, 7), (64, 40), (1500, 900)])
def test_canvas_is_one_rectangle(size):
    """Below a shape too, which is refined."""
    rgba = np.full((size[1], size[0], 4), 255, np.uint8)
    rgba[size[1] // 3 : size[1] // 2, size[0] // 4 : size[0] // 2, :3] = 0
    svg = trace_coverage(rgba, CoverageParameters(refine=3))
    assert f'd="M0 0h{size[0]}v{size[1]}H0z"' in svg
