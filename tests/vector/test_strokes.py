"""Strokes of constant width: broken, curved, closed and branching ones are found by the area that they cover, and
nothing else is taken for one."""

from __future__ import annotations

import numpy as np
import pathops
import pytest

from loadtests.benchmarks.structure import degraded
from loadtests.vectorize.scenes import SIDE, matched, primitives, scenes
from loadtests.vectorize.stroke_pictures import counted, pictures
from serve.vector.compare import Reference, render
from serve.vector.coverage import trace_coverage
from serve.vector.coverage.curves import Segments
from serve.vector.coverage.strokes.fitting import find_stroke
from serve.vector.coverage.text import Stroke
from serve.vector.parameters import CoverageParameters
from serve.vector.rewrite.cutting import contours_of

CAPS = {"butt": pathops.LineCap.BUTT_CAP, "round": pathops.LineCap.ROUND_CAP}
JOINS = {"miter": pathops.LineJoin.MITER_JOIN, "round": pathops.LineJoin.ROUND_JOIN}


def outline(points: list[tuple[float, float]], width: float, cap: str, join: str) -> Segments:
    """The outline of a stroke through ``points``."""
    path = pathops.Path()
    pen = path.getPen()
    pen.moveTo(points[0])
    for point in points[1:]:
        pen.lineTo(point)
    pen.endPath()
    path.stroke(width, CAPS[cap], JOINS[join], 4)
    path.convertConicsToQuads()
    path.simplify(keep_starting_points=False)
    (contour,) = contours_of(path)
    at, rows = contour.start, []
    for name, step in contour.steps:
        end = step[-1]
        thirds = [tuple(a + (b - a) * share / 3 for a, b in zip(at, end, strict=True)) for share in (1, 2)]
        controls = step[:2] if name == "curve" else thirds
        rows.append([name == "line", *at, *controls[0], *controls[1], *end])
        at = end
    return np.array(rows, np.float64)


def found(points: list[tuple[float, float]], width: float, cap: str, join: str) -> Stroke | None:
    return find_stroke([outline(points, width, cap, join)], decimals=1, noisy=False)[0]


@pytest.mark.parametrize("cap", CAPS)
@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize(
    "points",
    [[(24, 70), (56, 104), (116, 30)], [(26, 140), (110, 140), (110, 220)], [(20, 90), (50, 20), (80, 90), (110, 20)]],
)
def test_broken_strokes_have_their_nodes(points: list[tuple[float, float]], cap: str, join: str) -> None:
    stroke = found(points, 12, cap, join)
    assert stroke is not None
    assert (stroke.cap, stroke.join) == (cap, join)
    assert stroke.width == pytest.approx(12, abs=0.1)
    (line,) = stroke.lines
    nodes = [*line[:, 1:3].tolist(), line[-1, 7:].tolist()]
    ways = [np.array(nodes), np.array(nodes[::-1])]
    assert len(nodes) == len(points)
    assert min(abs(way - points).max() for way in ways) < 0.2


@pytest.mark.parametrize(
    "corners",
    [
        [(20, 20), (110, 24), (110, 40), (20, 30)],  # gets wider
        [(20, 20), (60, 20), (60, 60), (20, 60)],  # too short
        [(60, 10), (70, 50), (110, 60), (70, 70), (60, 110), (50, 70), (10, 60), (50, 50)],  # four ends
    ],
)
def test_other_outlines_are_no_strokes(corners: list[tuple[float, float]]) -> None:
    points = np.array(corners, np.float64)
    ends = np.roll(points, -1, axis=0)
    lines = [points + (ends - points) * share / 3 for share in range(4)]
    area = np.concatenate([np.ones((len(points), 1)), *lines], axis=1)
    assert find_stroke([area], decimals=1, noisy=False)[0] is None


@pytest.mark.parametrize("name", ["zigzag", "s", "signals", "heart-thin", "wye", "plus", "clock", "download", "tree"])
def test_drawn_strokes_are_strokes_again(name: str) -> None:
    picture = next(one for one in pictures() if one.name == name)
    clean = render(picture.svg, SIDE, SIDE)
    traced = trace_coverage(clean, CoverageParameters(refine=1))
    wanted, found, made, right = counted(picture.svg, traced)
    assert found == wanted
    assert right == made
    assert Reference(clean).fidelity(traced).ssim > 0.998


def test_areas_are_no_strokes() -> None:
    for picture in pictures():
        if not picture.strokes:
            traced = trace_coverage(render(picture.svg, SIDE, SIDE), CoverageParameters(refine=1))
            assert counted(picture.svg, traced)[2] == 0, picture.name


@pytest.mark.parametrize("condition", ["clean", "JPEG 75 4:2:0"])
def test_traced_polylines_are_strokes(condition: str) -> None:
    svg = next(scene.svg for scene in scenes() if scene.name == "polylines")
    clean = render(svg, SIDE, SIDE)
    parameters = CoverageParameters(refine=1)
    if condition != "clean":
        parameters = CoverageParameters(denoise=24.0, flatness=20.0, palette_distance=0.065, max_colors=16, refine=1)
    traced = trace_coverage(degraded(clean, condition), parameters)
    assert matched(primitives(svg), primitives(traced)) >= 2
    assert traced.count("stroke-width") >= 2
    assert Reference(clean).fidelity(traced).ssim > 0.999
