"""The tracer of photographs: what it takes for one, nested regions without gaps, tiers, palette."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from serve.ensembles.vectorizer.candidates import coarser, pictorial_parameters
from serve.vector.compare import Reference, render
from serve.vector.parameters import PictorialParameters, reference_parameters
from serve.vector.pictorial import is_pictorial, merging, trace_pictorial
from serve.vector.pictorial.detection import _small
from serve.vector.pictorial.merging import merge
from serve.vector.pictorial.nesting import at_depth, nest
from serve.vector.pictorial.outlines import outlines, simplified
from serve.vector.pictorial.weights import tree_inputs
from serve.vector.pictorial.writer import path_text
from serve.vector.trace import trace

Rgba = np.ndarray[Any, Any]


def texture(side: int = 224, seed: int = 5) -> Rgba:
    """Coloured noise at several scales, as leaves or fur have, with a bright lamp and a small red spot."""
    rng = np.random.default_rng(seed)
    total = np.full((side, side, 3), 110, np.float32)
    for cells, strength in ((4, 60), (12, 40), (40, 40), (110, 30)):
        noise = rng.standard_normal((cells, cells, 3)).astype(np.float32)
        noise = 0.3 * noise + 0.7 * noise.mean(axis=2, keepdims=True)
        total += strength * cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    cv2.circle(total, (side // 3, side // 3), side // 8, (250, 240, 200), -1)
    cv2.circle(total, (side * 2 // 3, side // 2), 4, (230, 20, 30), -1)
    rgb = np.clip(total, 0, 255).astype(np.uint8)
    return np.dstack([rgb, np.full((side, side), 255, np.uint8)])


def drawing(side: int = 224) -> Rgba:
    """A gradient ground with circles and letters."""
    rgb = np.linspace(90, 240, side)[None, :, None].repeat(side, 0).repeat(3, 2).astype(np.uint8).copy()
    for i in range(5):
        centre = (30 + 40 * i, 60 + 20 * i)
        cv2.circle(rgb, centre, 22, (200 - 30 * i, 40 * i, 90), -1, cv2.LINE_AA)
    cv2.putText(rgb, "Atelier", (20, side - 30), cv2.FONT_HERSHEY_DUPLEX, 1.4, (20, 30, 60), 2, cv2.LINE_AA)
    return np.dstack([rgb, np.full((side, side), 255, np.uint8)])


def as_jpeg(rgba: Rgba, quality: int) -> Rgba:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGBA))


def cut_out(rgba: Rgba) -> Rgba:
    """Its ellipse with a round hole; black below what is clear, where nobody sees it."""
    side = len(rgba)
    y, x = np.mgrid[:side, :side] + 0.5 - side / 2
    ellipse, hole = np.hypot(x, 1.3 * y) - 0.46 * side, 0.08 * side - np.hypot(x + side / 5, y)
    result = rgba.copy()
    result[..., 3] = np.rint(255 * np.clip(0.5 - np.maximum(ellipse, hole), 0, 1))
    result[result[..., 3] == 0] = 0
    return result


def test_textures_are_told_from_drawings() -> None:
    assert is_pictorial(texture())
    assert is_pictorial(as_jpeg(texture(), 70))
    assert is_pictorial(cv2.resize(texture(), (640, 640), interpolation=cv2.INTER_CUBIC))
    assert not is_pictorial(drawing())
    assert not is_pictorial(as_jpeg(drawing(), 60))
    assert not is_pictorial(texture(120))  # too small to tell
    assert is_pictorial(cut_out(texture()))
    assert not is_pictorial(cut_out(drawing()))
    faded = texture()
    faded[..., 3] = np.linspace(0, 255, 224)[None, :].astype(np.uint8)
    assert not is_pictorial(faded)


def test_what_is_a_photograph_does_not_depend_on_its_size() -> None:
    """At sizes that are no whole multiple of 128 px an average in steps would blur, and fewer pixels would bend."""
    large = cv2.resize(texture(256), (2048, 2048), interpolation=cv2.INTER_CUBIC)
    whole, uneven = (
        _small(cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA)).astype(np.float32)
        for side in (2048, 1000)
    )
    assert np.abs(cv2.Laplacian(uneven, -1)).mean() > 0.97 * np.abs(cv2.Laplacian(whole, -1)).mean()


def test_dark_colours_are_exact() -> None:
    dark = texture()
    dark[:112, :, :3] //= 20
    svg = trace(dark, PictorialParameters(color_step=5))
    values = {int(v, 16) for fill in re.findall(r'fill="#(\w{6})"', svg) for v in re.findall("..", fill)}
    uneven = {value for value in values if value % 5}
    assert {1, 2, 3, 4} < uneven
    assert max(uneven) <= 16


def test_each_tier_is_nearer_and_the_second_before_vtracer_at_a_third_of_its_bytes() -> None:
    picture = texture()
    reference, svgs = Reference(picture), [trace(picture, reference_parameters())]
    svgs += [trace(picture, pictorial_parameters(224, 224, tier)) for tier in (1, 2, 3)]
    likeness = [reference.fidelity(svg).ssim for svg in svgs]
    assert likeness[1:] == sorted(likeness[1:])
    assert likeness[2] > likeness[0]
    assert len(svgs[2]) < len(svgs[0]) / 3
    coarse = coarser(pictorial_parameters(224, 224, 1), 3)
    assert len(trace(picture, coarse)) < len(svgs[1]) / 3


def test_no_gap_shows_between_regions() -> None:
    """At 8 times the size and through a ground of alpha 0, every pixel is opaque."""
    svg = trace(texture(96), PictorialParameters(regions=300, price=0.01))
    assert render(svg, 768, 768)[..., 3].min() == 255
    dark = texture(96) // 2
    dark[..., 3] = 255
    drawn = render(trace(dark, PictorialParameters(regions=300, price=0.01)), 768, 768)
    assert drawn[..., :3].max() <= dark[..., :3].max() + 8  # neither white nor another colour between neighbours


def test_a_small_red_spot_keeps_its_hue() -> None:
    picture = texture()
    drawn = render(trace(picture, pictorial_parameters(224, 224, 1)), 224, 224)
    spot = np.s_[110:115, 147:152]
    assert np.abs(drawn[spot][..., :3].mean((0, 1)) - picture[spot][..., :3].mean((0, 1))).max() < 25


def test_large_pictures_keep_their_size_and_palettes_their_number() -> None:
    large = cv2.resize(texture(), (900, 700), interpolation=cv2.INTER_CUBIC)
    parameters = PictorialParameters(regions=500, price=0.01, max_pixels=40_000, max_colors=7)
    svg = trace(large, parameters)
    assert 'viewBox="0 0 900 700"' in svg
    assert render(svg, 900, 700).shape == (700, 900, 4)
    assert len(set(re.findall(r'fill="(#\w+)"', svg))) <= 7
    assert svg == trace(large.copy(), parameters)
    assert len(trace(large, replace(parameters, min_area=12.0))) <= len(svg)


def test_what_is_clear_stays_clear_and_no_edge_is_light_or_dark() -> None:
    picture = cut_out(texture())
    drawn = render(trace(picture, pictorial_parameters(224, 224, 2)), 224, 224)
    opaque, clear = (
        cv2.erode(picture[..., 3], np.ones((5, 5))) == 255,
        cv2.dilate(picture[..., 3], np.ones((5, 5))) == 0,
    )
    assert drawn[opaque][:, 3].min() == 255
    assert drawn[clear][:, 3].max() == 0
    seen = (picture[..., 3] > 128) & (drawn[..., 3] > 128)
    assert np.abs(drawn[seen][:, :3].mean(0) - picture[seen][:, :3].mean(0)).max() < 2
    reference = Reference(picture)
    assert reference.compare(drawn).ssim > reference.fidelity(trace(picture, reference_parameters())).ssim


@pytest.mark.parametrize("regions", [2, 3])
def test_tiny_and_flat_pictures_are_drawn_too(regions: int) -> None:
    flat = np.full((2, 3, 4), 255, np.uint8)
    assert render(trace_pictorial(flat, PictorialParameters(regions=regions)), 3, 2).min() == 255


def test_outlines_follow_pixels_around_holes_and_corners() -> None:
    labels = np.full((6, 7), -1, np.int32)
    labels[1:5, 1:6] = 3
    labels[2:4, 2:4] = 4  # a hole with another area in it
    labels[5, 6] = 3  # touches only by its corner
    points, starts, owners = outlines(labels)
    sizes = {(int(owner), int(b - a)) for owner, a, b in zip(owners, starts, starts[1:], strict=False)}
    assert sizes == {(3, 18), (3, 8), (4, 8), (3, 4)}
    area = 0.0
    for owner, a, b in zip(owners, starts, starts[1:], strict=False):
        x, y = (points[a:b].astype(float) / 2).T
        if owner == 3:
            area += 0.5 * float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())
    # the middles of edges cut an eighth of a pixel at each convex corner, and add one at those of a hole
    assert area == pytest.approx(20 + 1 - 4 - 8 * 0.125 + 4 * 0.125)
    corners, ends = simplified(points, starts, 1.0)
    assert len(corners) < len(points)
    assert len(ends) == len(starts)


@pytest.mark.parametrize("tier", [1, 2, 3])
def test_lines_one_pixel_wide_are_drawn_in_both_directions(tier: int) -> None:
    light = texture(192)
    light[..., :3] = light[..., :3] // 2 + 110
    light[130, 20:170, :3] = 0
    parameters = pictorial_parameters(192, 192, tier)
    for picture in (light, np.ascontiguousarray(light.transpose(1, 0, 2))):
        drawn = render(trace(picture, parameters), 192, 192)
        line = drawn[130, 22:168] if picture is light else drawn[22:168, 130]
        assert line[:, :3].mean() < 60


def test_textures_join_in_pairs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """To join all cheapest neighbours costs likeness, so no more than rings and gradients do."""
    inputs = tree_inputs(np.ascontiguousarray(cv2.resize(texture(640, 3)[..., :3], (512, 512), interpolation=3)))
    rounds = merge(*inputs, 5e-4).rounds
    monkeypatch.setattr(merging, "PAIRED_SHARE", 0.0)
    assert merge(*inputs, 5e-4).rounds == rounds


def test_rings_join_in_few_rounds() -> None:
    """Of their pixels few are each other's cheapest neighbours: pairs alone take 1,897 rounds."""
    y, x = np.mgrid[:512, :512]
    rings = (127.5 + 127.5 * np.cos((x * x + y * y) / 300)).astype(np.uint8)[..., None].repeat(3, 2)
    tree = merge(*tree_inputs(rings), 5e-4)
    assert len(tree.price) == rings[..., 0].size - 1
    assert tree.rounds < 1200
    joined = np.flatnonzero(tree.parent >= 0)
    assert (tree.time[tree.parent[joined]] > tree.time[joined]).all()


def test_path_data_is_relative_and_short() -> None:
    points = np.array([[1, 2], [11, 2], [11, -3], [5, 5], [6, 5], [6, 6]], np.int32)
    starts = np.array([0, 3, 6], np.int32)
    assert path_text(points, starts, np.array([0, 1])) == "m1 2 10 0 0-5zm4 3 1 0 0 1z"


def test_regions_of_a_cut_lie_within_their_parents() -> None:
    parent, time = np.array([-1, 0, 0, 2], np.int32), np.array([4, 0, 2, 1], np.int32)
    nested = nest(parent, time, 1, (2, 2))
    assert len(nested.parent) == 3
    assert nested.parent.tolist() == [-1, 0, 1]
    assert nested.depth.tolist() == [0, 1, 2]
    opaque = np.zeros(3, np.bool_)
    assert at_depth(nested.labels, nested.parent, nested.depth, 1, opaque).tolist() == [[-1, -1], [1, 1]]
    first_clear = np.array([False, True, False])
    assert at_depth(nested.labels, nested.parent, nested.depth, 1, first_clear).max() == -1
    assert at_depth(nested.labels, nested.parent, nested.depth, 2, first_clear).max() == 2
