"""Boxes, shares of layers, and the layout of subjects by their relationships."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from serve.diffusion.layout import RELATIONS, Placed, Relationship, arrange, to_svg
from serve.diffusion.regions import Box, layer_shares, sum_layers
from serve.errors import InvalidRequest

NAMES = ["Ada", "Bo", "cup"]


def layout(*relations: tuple[str, str, str], names: list[str] = NAMES, **given: Box) -> dict[str, Placed]:
    return {one.name: one for one in arrange(names, [Relationship(*one) for one in relations], given)}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ((-0.1, 0, 0.5, 0.5), "box.left"),
        ((0, 2, 0.5, 0.5), "box.top"),
        ((0, 0, 0, 0.5), "box"),
        ((0.6, 0, 0.5, 0.5), "box"),
        ((0, 0.6, 0.5, 0.5), "box"),
        ((0, math.nan, 0.5, 0.5), "box.top"),
        ((0, 0, True, 0.5), "box.width"),
        ((0, 0, "1", 0.5), "box.width"),
    ],
)
def test_box_outside_of_the_picture_is_refused(values: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        Box(*values)
    assert raised.value.field == field


def test_box_has_at_least_one_pixel() -> None:
    assert Box(0.25, 0, 0.5, 1).mask(8, 4).sum() == 255 * 4 * 4
    assert (Box(0.999, 0.999, 0.001, 0.001).mask(8, 8) == 255).sum() == 1


def test_shares_sum_to_one_and_later_layers_lie_above() -> None:
    rng = np.random.default_rng(1)
    masks = [rng.random((5, 7)).astype(np.float32) for _ in range(4)]
    shares = layer_shares(masks, [1.0, 0.5, 0.8, 1.0])
    assert shares.shape == (5, 5, 7)
    assert np.allclose(shares.sum(axis=0), 1, atol=1e-6)
    assert (shares >= 0).all()
    assert np.allclose(shares[-1], masks[-1])
    whole = np.ones((2, 2), np.float32)
    assert np.array_equal(layer_shares([whole, whole], [1.0, 1.0])[:, 0, 0], [0, 0, 1])


def test_layers_are_summed_with_their_shares() -> None:
    predictions = [np.full((3, 2, 2), value, np.float32) for value in (1.0, 3.0)]
    mask = np.array([[0, 1], [0.5, 0.25]], np.float32)
    total = sum_layers(predictions, layer_shares([mask], [1.0]))
    assert np.allclose(total, 1 + 2 * mask)


def test_sides_follow_the_relations() -> None:
    for relation in ("left of", "beside"):
        placed = layout(("Ada", relation, "Bo"), names=["Bo", "Ada"])
        assert placed["Ada"].box.right <= placed["Bo"].box.left
    assert layout(("Ada", "right of", "Bo"))["Bo"].box.right <= layout(("Ada", "right of", "Bo"))["Ada"].box.left
    assert layout(("Ada", "above", "Bo"))["Ada"].box.bottom <= layout(("Ada", "above", "Bo"))["Bo"].box.top
    assert layout(("Ada", "below", "Bo"))["Bo"].box.bottom <= layout(("Ada", "below", "Bo"))["Ada"].box.top
    chain = layout(("Ada", "left of", "Bo"), ("Bo", "left of", "cup"), ("Ada", "beside", "cup"))
    assert chain["Ada"].box.right <= chain["Bo"].box.left
    assert chain["Bo"].box.right <= chain["cup"].box.left


def test_depth_orders_the_layers() -> None:
    for relations in ([("Ada", "in front of", "Bo")], [("Bo", "behind", "Ada")]):
        placed = layout(*relations)
        assert placed["Bo"].layer < placed["Ada"].layer
        assert placed["Ada"].box.left < placed["Bo"].box.right  # they overlap
        assert placed["Ada"].box.bottom > placed["Bo"].box.bottom
    both = layout(("Ada", "in front of", "Bo"), ("Ada", "left of", "Bo"))
    assert both["Ada"].box.right <= both["Bo"].box.left
    assert both["Bo"].layer < both["Ada"].layer


def test_held_and_surrounded_subjects_are_within() -> None:
    for relation in ("holding", "around"):
        placed = layout(("Ada", relation, "cup"), ("Bo", "left of", "Ada"))
        outer, inner = placed["Ada"], placed["cup"]
        assert outer.box.left <= inner.box.left
        assert inner.box.right <= outer.box.right + 1e-9
        assert outer.layer < inner.layer
        assert placed["Bo"].box.right <= inner.box.left


def test_given_box_is_kept_and_its_group_follows() -> None:
    box = Box(0.5, 0.5, 0.5, 0.5)
    placed = layout(("Ada", "holding", "cup"), Ada=box)
    assert placed["Ada"].box == box
    assert placed["cup"].box.left >= 0.5
    assert placed["cup"].box.top >= 0.5


def test_every_subject_is_in_the_picture() -> None:
    names = [f"s{i}" for i in range(8)]
    rng = np.random.default_rng(2)
    for _ in range(200):
        pairs = [rng.choice(8, 2, replace=False) for _ in range(5)]
        relations = [(names[min(p)], str(rng.choice(RELATIONS)), names[max(p)]) for p in pairs]
        try:
            placed = layout(*relations, names=names)
        except InvalidRequest:
            continue
        assert placed.keys() == set(names)
        assert sorted(one.layer for one in placed.values()) == list(range(8))


@pytest.mark.parametrize(
    ("relations", "names", "field"),
    [
        ([("Ada", "left of", "Bo"), ("Bo", "left of", "Ada")], NAMES, "relationships[1]"),
        ([("Ada", "left of", "Bo"), ("Bo", "left of", "cup"), ("cup", "left of", "Ada")], NAMES, "relationships[2]"),
        ([("Ada", "left of", "Bo"), ("Ada", "right of", "Bo")], NAMES, "relationships[1]"),
        ([("Ada", "in front of", "Bo"), ("Ada", "behind", "Bo")], NAMES, "relationships[1]"),
        ([("Ada", "holding", "cup"), ("cup", "holding", "Ada")], NAMES, "relationships[1]"),
        ([("Ada", "holding", "cup"), ("Bo", "holding", "cup")], NAMES, "relationships[1]"),
        ([("Ada", "holding", "cup"), ("Ada", "left of", "cup")], NAMES, "relationships[1]"),
        ([("Ada", "left of", "Ada")], NAMES, "relationships[0]"),
        ([("Ada", "left of", "Cy")], NAMES, "relationships[0].object"),
        ([("Cy", "left of", "Ada")], NAMES, "relationships[0].subject"),
        ([("Ada", "under", "Bo")], NAMES, "relationships[0].relation"),
        ([("Ada", "beside", "Bo")] * 33, NAMES, "relationships"),
        ([], [str(i) for i in range(100)], "subjects"),
        ([], ["Ada", "Ada"], "subjects"),
    ],
)
def test_contradictions_are_refused_by_name(relations: Any, names: list[str], field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        layout(*relations, names=names)
    assert raised.value.field == field


def test_svg_is_well_formed_whatever_the_names() -> None:
    svg = to_svg([Placed("<script>&\"'", Box(0, 0, 0.5, 1), 0)], 640, 480)
    root = ElementTree.fromstring(svg)
    assert root.attrib["viewBox"] == "0 0 640 480"
    assert [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")] == ["<script>&\"'"]


def test_boxes_within_tiny_ones_have_a_least_side() -> None:
    for tiny in (Box(0.3, 0.3, 1e-300, 1e-300), Box(1.0, 1.0, 1e-7, 1e-7), Box(0.0, 1 - 1e-12, 1.0, 1e-12)):
        placed = layout(("Ada", "holding", "cup"), ("Bo", "around", "Ada"), Bo=tiny)
        assert placed["Bo"].box == tiny
        assert min(placed["cup"].box.width, placed["cup"].box.height) >= 0.0009


def test_characters_outside_of_xml_are_left_out() -> None:
    placed = [Placed("A\x01d\x0ba\ufffe \ud800<\U0001f98a>", Box(0, 0, 1, 1), 0)]
    svg = to_svg(placed, 64, 64)
    ElementTree.fromstring(svg)
    assert "Ada &lt;\U0001f98a&gt;" in svg
