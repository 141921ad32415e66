"""The coverage tracer's steps, one by one."""

import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from serve.vector.coverage.contours import signed_area
from serve.vector.coverage.curves import fit_contour
from serve.vector.coverage.flat import flat_mask, premultiply
from serve.vector.coverage.layers import stack
from serve.vector.coverage.paints import PaintTable
from serve.vector.coverage.palette import find_palette, oklab
from serve.vector.coverage.text import number, outline_data
from serve.vector.coverage.unmix import unmix
from serve.vector.coverage.writer import straight
from serve.vector.parameters import (
    CoverageParameters,
    VTracerParameters,
    from_candidate,
    to_candidate,
)


def disc(size: int, radius: float, supersampling: int = 16):
    """Coverage of a centred disc, shape (size, size), by supersampling."""
    at = (np.arange(size * supersampling) + 0.5) / supersampling - size / 2
    inside = np.hypot(*np.meshgrid(at, at)) <= radius
    return inside.reshape(size, supersampling, size, supersampling).mean((1, 3))


def two_colours(coverage, inside=(200, 30, 30), outside=(250, 250, 250)):
    rgba = np.full((*coverage.shape, 4), 255, np.uint8)
    mixed = coverage[..., None] * np.array(inside) + (1 - coverage[..., None]) * np.array(outside)
    rgba[..., :3] = np.round(mixed)
    return rgba


def shares_of(rgba):
    pixels = premultiply(rgba)
    mask = flat_mask(pixels, 8.0)
    solids = find_palette(pixels, mask, 0.04, 24)
    nearest = ((pixels[:, :, None] - solids) ** 2).sum(3).argmin(2)
    labels = np.where(mask > 0, nearest, -1).astype(np.int16)
    extra = np.full(labels.shape, -1, np.int16)
    paints = PaintTable.solid(solids)
    return unmix(pixels, labels, extra, paints, solids, 8.0), paints


def test_oklab_of_white_black_and_red():
    """Reference values of the article that defines OKLab."""
    lab = oklab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]]))
    assert lab[0] == pytest.approx([1, 0, 0], abs=1e-3)
    assert lab[1] == pytest.approx([0, 0, 0], abs=1e-3)
    assert lab[2] == pytest.approx([0.628, 0.225, 0.126], abs=1e-3)


def test_blends_never_become_colours():
    rgba = two_colours(disc(80, 25.3))
    pixels = premultiply(rgba)
    palette = find_palette(pixels, flat_mask(pixels, 8.0), 0.04, 24)
    assert sorted(palette[:, 0].tolist()) == pytest.approx([200, 250], abs=0.5)


def test_shares_are_the_coverage():
    coverage = disc(80, 25.3)
    shares, paints = shares_of(two_colours(coverage))
    inside = int(np.argmin(paints.colors[:, 0, 1]))
    found = np.where(shares.first == inside, shares.share, 0) + np.where(shares.second == inside, 1 - shares.share, 0)
    assert np.abs(found - coverage).max() < 0.02


def test_contour_is_sub_pixel_exact():
    radius = 25.3
    shares, paints = shares_of(two_colours(disc(80, radius)))
    layers, _ = stack(shares, paints, 1.5, 1000)
    circle = layers[-1].contours[0]
    distance = np.hypot(circle[:, 0] - 40, circle[:, 1] - 40)
    assert np.abs(distance - radius).max() < 0.06
    assert abs(signed_area(circle)) == pytest.approx(math.pi * radius**2, rel=2e-3)


def test_bottom_layer_is_not_cut_below_the_top_one():
    """The hole that the disc would leave is hidden, so the canvas stays one rectangle."""
    shares, paints = shares_of(two_colours(disc(80, 25.3)))
    bottom = stack(shares, paints, 1.5, 1000)[0][0]
    assert len(bottom.contours) == 1


def polygon(corners, step=0.5):
    """Points every ``step`` along a closed polygon, all of full rigidity: (n, 3)."""
    points = []
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        n = int(math.hypot(bx - ax, by - ay) / step)
        points += [(ax + (bx - ax) * i / n, ay + (by - ay) * i / n, 1.0) for i in range(n)]
    return np.array(points)


def test_square_becomes_four_lines():
    outline = fit_contour(polygon([(10, 10), (50, 10), (50, 50), (10, 50)]), 0.25, math.radians(42), 1.0)
    assert len(outline) == 4
    assert outline[:, 0].all()
    assert {(round(x), round(y)) for x, y in outline[:, 1:3]} == {(10, 10), (50, 10), (50, 50), (10, 50)}


def test_circle_becomes_few_cubics_within_tolerance():
    t = np.linspace(0, 2 * math.pi, 300, endpoint=False)
    points = np.stack([40 + 25 * np.cos(t), 40 + 25 * np.sin(t), np.ones(300)], 1)
    outline = fit_contour(points, 0.25, math.radians(42), 1.0)
    assert len(outline) <= 8
    assert not outline[:, 0].any()
    s = np.linspace(0, 1, 20)[:, None]
    for row in outline:
        p = row[1:].reshape(4, 2)
        curve = (1 - s) ** 3 * p[0] + 3 * (1 - s) ** 2 * s * p[1] + 3 * (1 - s) * s**2 * p[2] + s**3 * p[3]
        assert np.abs(np.hypot(*(curve - 40).T) - 25).max() < 0.3


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(0.5, 1, ".5"), (-0.25, 2, "-.25"), (3.0, 1, "3"), (-0.04, 1, "0"), (12.34, 1, "12.3"), (0, 0, "0")],
)
def test_numbers_are_short(value, decimals, text):
    assert number(value, decimals) == text


def test_outline_data_is_relative_and_compact():
    rows = [(1, 10, 10, 0, 0, 0, 0, 50, 10), (1, 50, 10, 0, 0, 0, 0, 50, 50), (1, 50, 50, 0, 0, 0, 0, 10, 10)]
    assert outline_data(np.array(rows, float), 1) == "M10 10h40v40z"


def test_straight_colour_undoes_premultiplication():
    assert straight(np.array([127.5, 0, 0, 127.5], np.float32)) == ("#f00", 0.5)
    assert straight(np.array([18, 52, 86, 255], np.float32)) == ("#123456", 1.0)


@pytest.mark.parametrize("parameters", [CoverageParameters(refine=3), VTracerParameters(filter_speckle=7)])
def test_candidate_rows_round_trip(parameters):
    """D-040: eight learned parameters a tracer, in the unit box."""
    row = to_candidate(parameters)
    assert row.shape == (10,)
    assert row.min() >= 0
    assert row.max() <= 1
    again = from_candidate(row)
    assert again == parameters or to_candidate(again) == pytest.approx(row, abs=1e-5)


@pytest.mark.parametrize("parameters", [CoverageParameters(), VTracerParameters()])
def test_every_parameter_is_documented(parameters):
    """docs/VECTORIZE.md names every parameter with its default, range and effect."""
    text = (Path(__file__).parents[2] / "docs" / "VECTORIZE.md").read_text()
    for f in fields(parameters):
        low, high, effect = f.metadata["low"], f.metadata["high"], f.metadata["effect"]
        if low is None:
            assert f"`{f.name}`" in text
        else:
            assert f"| `{f.name}` | {f.default:g} | {low:g} | {high:g} | {effect} |" in text
