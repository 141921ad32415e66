"""Drawings rewritten: kinds of curves, shapes cut out of each other, groups, outlines. What is seen stays the same."""

from __future__ import annotations

import itertools
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from serve.vector.compare import render
from serve.vector.drawing import Contour, Solid
from serve.vector.finishing import Finish
from serve.vector.rewrite.curve_kinds import TOLERANCE_PX, of_kind
from serve.vector.rewrite.rewrite import MAX_SHAPES, Rewrite
from serve.vector.svg_reader import read

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96">'
SVG = (
    HEAD + '<linearGradient id="a" gradientUnits="userSpaceOnUse" x1="0" y1="0" x2="96" y2="0">'
    '<stop stop-color="#f00"/><stop offset="1" stop-color="#00f"/></linearGradient>'
    '<path fill="#fff" d="M0 0h96v96H0z"/>'
    '<g fill="#d93a3a"><circle cx="30" cy="30" r="20"/><rect x="60" y="10" width="20" height="20" rx="4" '
    'transform="rotate(20 70 20)"/></g>'
    '<path fill="url(#a)" fill-rule="evenodd" d="M20 52h50v38h-50zM30 60v20h30v-20z"/>'
    '<path fill="#2e9e5b" d="M40 40c20-20 40 0 40 20s-20 30-40 10 -10-20 0-30z"/>'
    '<ellipse cx="20" cy="28" rx="6" ry="5" fill="#111"/>'
    '<path fill="none" stroke="#d93a3a" stroke-width="4" stroke-linecap="round" d="M10 85L40 92"/>'
    '<circle cx="60" cy="55" r="6" fill="#f2b632" fill-opacity=".5"/></svg>'
)
EVERY = [
    Rewrite(curves, stacking, group_by)
    for curves, stacking, group_by in itertools.product(
        ("lines", "arcs", "quadratic", "cubic"), ("stacked", "cut_out"), ("none", "color", "parent", "layer")
    )
]


def seen(svg: str) -> np.ndarray:
    return render(svg, 192, 192).astype(float)


@pytest.mark.parametrize("rewrite", EVERY, ids=lambda one: f"{one.curves}-{one.stacking}-{one.group_by}")
def test_no_option_changes_what_is_seen(rewrite: Rewrite) -> None:
    assert np.abs(seen(rewrite.apply(SVG)) - seen(SVG)).mean() < 0.5


def test_nothing_to_do_gives_the_same_text() -> None:
    assert Rewrite().apply(SVG, decimals=2) == SVG


@pytest.mark.parametrize(
    ("curves", "allowed"), [("lines", "MmLlHhVvZz"), ("arcs", "MmLlHhVvAaZz"), ("quadratic", "MmLlHhVvQqZz")]
)
def test_paths_have_the_curves_that_are_allowed(curves: str, allowed: str) -> None:
    svg = Rewrite(curves=curves).apply(SVG)
    commands = set("".join(re.findall(r'\bd="([^"]*)"', svg))) & set("MmLlHhVvCcSsQqTtAaZz")
    assert commands <= set(allowed)
    assert allowed == "MmLlHhVvZz" or {*commands} & set("AaQq")
    assert ("<circle" in svg) == (curves != "lines")
    assert ("<ellipse" in svg) == (curves == "quadratic")


def test_arcs_and_lines_stay_close_to_the_curve() -> None:
    contour = Contour((0, 0), [("curve", ((30, 0), (50, 20), (50, 60)))], False)
    for kind in ("lines", "arcs", "quadratic"):
        end = of_kind(contour, kind).steps
        assert end[-1][1][-1] == pytest.approx((50, 60))
    lines = [contour.start, *(points[0] for _, points in of_kind(contour, "lines").steps)]
    t = np.linspace(0, 1, 300)[:, None]
    curve = 3 * (1 - t) ** 2 * t * [30, 0] + 3 * (1 - t) * t**2 * [50, 20] + t**3 * [50, 60]
    for point in curve:
        assert min(_distance(point, a, b) for a, b in itertools.pairwise(lines)) < TOLERANCE_PX * 1.01
    assert len(of_kind(contour, "arcs").steps) < len(lines) / 2


def _distance(p: np.ndarray, a: tuple[float, float], b: tuple[float, float]) -> float:
    dx, dy = b[0] - a[0], b[1] - a[1]
    t = max(0.0, min(1.0, ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / (dx * dx + dy * dy)))
    return math.hypot(p[0] - a[0] - t * dx, p[1] - a[1] - t * dy)


def test_cut_out_shapes_share_their_edges_and_cover_each_pixel_once() -> None:
    svg = f'{HEAD}<path d="M0 0h96v96H0z" fill="#fff"/><circle cx="48" cy="48" r="30" fill="#f00"/></svg>'
    cut = Rewrite(stacking="cut_out").apply(svg)
    ground, circle = read(cut).shapes
    alone = cut.replace("#f00", "#fff")
    assert seen(alone)[96, 96, 3] == 255
    without_circle = re.sub(r"<circle[^>]*>", "", cut)
    assert "<circle" in cut
    assert seen(without_circle)[96, 96, 3] == 0  # nothing lies below it
    assert isinstance(ground.fill, Solid)
    assert circle.ellipse is not None
    edges = {(round(x, 1), round(y, 1)) for c in ground.contours for _, step in c.steps for x, y in step[-1:]}
    assert (78.0, 48.0) in edges


def test_groups_by_color_hold_a_paint_each() -> None:
    root = ElementTree.fromstring(Rewrite(stacking="cut_out", group_by="color").apply(SVG))
    groups = root.findall("{*}g")
    assert [group.get("class") for group in groups].count("color-d93a3a") == 1
    assert all(group.get("fill") for group in groups if group.get("class") != "color-d93a3a")  # which has a stroke, too
    assert sum(len(group) for group in groups) >= 8


def test_layers_hold_what_does_not_overlap() -> None:
    root = ElementTree.fromstring(Rewrite(group_by="layer").apply(SVG))
    names = [group.get("id") for group in root.findall("{*}g")]
    assert names == [f"layer-{i + 1}" for i in range(len(names))]
    assert len(root.findall("{*}g")[0]) == 1  # the ground
    assert len(root.findall("{*}g")[1]) == 3  # two red ones and the frame


def test_parents_hold_what_lies_in_them() -> None:
    root = ElementTree.fromstring(Rewrite(group_by="parent").apply(SVG))
    (ground,) = root.findall("{*}g")
    circle = next(group for group in ground.findall("{*}g") if group[0].tag.endswith("circle"))
    assert [element.tag.rpartition("}")[2] for element in circle] == ["circle", "ellipse"]


def test_strokes_are_outlines_of_the_same_colour() -> None:
    svg = Rewrite(draw="strokes").apply(SVG)
    shapes = read(svg).shapes
    assert all(shape.fill is None and shape.stroke is not None for shape in shapes)
    drawn = seen(svg)
    assert drawn[46, 64, 3] == 0  # in the circle
    assert drawn[20, 60, 3] > 100  # on its edge
    assert "<circle" in svg


def test_finish_applies_it_between_colours_and_names() -> None:
    finish = Finish(palette=("#000000", "#ffffff"), title="fox", classes=True, rewrite=Rewrite(group_by="layer"))
    root = ElementTree.fromstring(finish.apply(SVG))
    assert root[0].text == "fox"
    assert {element.get("class") for element in root.iter() if element.get("class")} <= {
        "fill-000", "fill-fff", "fill-ffffff", "fill-000000", "stroke-000", "stroke-fff",
    }  # fmt: skip
    assert root.findall("{*}g")[0].get("id") == "layer-1"


def test_crowded_drawings_are_left_as_they_are() -> None:
    svg = HEAD + '<path d="M0 0h1v1H0z"/>' * (MAX_SHAPES + 1) + "</svg>"
    assert Rewrite(stacking="cut_out").apply(svg) == svg
