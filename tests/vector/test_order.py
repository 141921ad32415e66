"""Order among shapes: what is nearly equal becomes equal, nearly regular polygons and stars become regular."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from serve.vector.coverage.curves import Segments
from serve.vector.coverage.ordering.order import MIN_ALIKE, in_order
from serve.vector.coverage.primitives import CIRCLE, RECT, Primitive
from serve.vector.coverage.writer import Shape

RNG = np.random.default_rng(7)


def whole(kind: int, x: float, y: float, a: float, b: float, corner: float = 0.0) -> Shape:
    primitive = Primitive(kind, np.array([x, y, a, b, 0.0, corner]))
    return Shape(0, [primitive.to_segments()], [primitive])


def polygon(corners: Sequence[tuple[float, float]]) -> Segments:
    points = np.array(corners)
    ends = np.roll(points, -1, axis=0)
    return np.concatenate(
        [np.ones((len(points), 1)), *(points + (ends - points) * share / 3 for share in range(4))], axis=1
    )


def star(points: int, radii: Sequence[float], noise: float) -> list[tuple[float, float]]:
    spokes = [(radii[i % len(radii)], 0.3 + math.tau * i / points) for i in range(points)]
    return [
        (50 + r * math.cos(t) + RNG.uniform(-noise, noise), 60 + r * math.sin(t) + RNG.uniform(-noise, noise))
        for r, t in spokes
    ]


def values(shapes: Sequence[Shape]) -> np.ndarray:
    return np.array([shape.wholes[0].values for shape in shapes if shape.wholes[0]])


def test_alike_circles_in_a_row_become_equal() -> None:
    shapes = [whole(CIRCLE, 20 + 30 * i, 40 + d, 9 + d, 9 + d) for i, d in enumerate((0.0, 0.02, -0.02, 0.01))]
    found = values(in_order(shapes, noisy=False))
    assert np.ptp(found[:, 1:4], axis=0) == pytest.approx(0)
    assert found[:, 0] == pytest.approx([20, 50, 80, 110])  # columns of one stay


def test_two_alike_are_no_evidence_but_concentric_ones_meet() -> None:
    shapes = [whole(CIRCLE, 20, 40, 9, 9), whole(CIRCLE, 20.03, 40.03, 9.03, 9.03)]
    assert len(shapes) < MIN_ALIKE
    found = values(in_order(shapes, noisy=False))
    assert found[0, :2] == pytest.approx(found[1, :2])
    assert found[:, 2] == pytest.approx([9, 9.03])


def test_no_value_moves_by_more_than_its_accuracy() -> None:
    shapes = [whole(CIRCLE, *RNG.uniform(10, 90, 2), r, r) for r in RNG.uniform(4, 9, 40)]
    for noisy, most in ((False, 0.05), (True, 0.1)):
        found = values(in_order(shapes, noisy=noisy))
        assert abs(found - values(shapes)).max() <= 2 * most


def test_nearly_square_is_square_and_pills_stay_pills() -> None:
    square, pill = in_order([whole(RECT, 30, 30, 10, 10.03), whole(RECT, 70, 70, 20, 6, 6)], noisy=False)
    assert values([square])[0, 2] == values([square])[0, 3]
    assert values([pill])[0, 5] == values([pill])[0, 3]


@pytest.mark.parametrize(("points", "radii"), [(5, (30,)), (6, (30,)), (8, (20,)), (10, (34, 14)), (16, (22, 12))])
def test_nearly_regular_polygons_and_stars_become_regular(points: int, radii: Sequence[float]) -> None:
    outline = polygon(star(points, radii, 0.12))
    (shape,) = in_order([Shape(0, [outline], [None])], noisy=False)
    corners = shape.outlines[0][:, 1:3]
    found = np.hypot(*(corners - corners.mean(axis=0)).T)
    for place in range(len(radii)):
        assert np.ptp(found[place :: len(radii)]) == pytest.approx(0, abs=1e-9)
        assert found[place] == pytest.approx(radii[place], abs=0.15)
    sides = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
    assert np.ptp(sides) == pytest.approx(0, abs=1e-9)


def test_tips_that_the_pixel_grid_cut_off_are_given_back() -> None:
    corners = star(10, (34, 14), 0.0)
    (x, y), before, after = corners[4], corners[3], corners[5]
    cut = [(x + (one[0] - x) * 0.03, y + (one[1] - y) * 0.03) for one in (before, after)]
    outline = polygon([*corners[:4], *cut, *corners[5:]])
    (shape,) = in_order([Shape(0, [outline], [None])], noisy=False)
    assert len(shape.outlines[0]) == 10
    assert np.abs(shape.outlines[0][:, 1:3] - np.array(corners)).max() < 0.05


@pytest.mark.parametrize(
    "corners", [star(4, (30,), 0), star(6, (30,), 1.5), star(12, (30, 22, 25), 0), star(6, (5,), 0)]
)
def test_other_polygons_stay(corners: list[tuple[float, float]]) -> None:
    outline = polygon(corners)
    (shape,) = in_order([Shape(0, [outline], [None])], noisy=True)
    assert np.array_equal(shape.outlines[0], outline)
