"""Lines in a picture."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from loadtests.chart import lines
from serve.vector.compare import render


def test_a_chart_is_an_svg_with_a_line_for_each_series() -> None:
    drawn = lines("t < u", "x", "y", {"a": [(0, 1), (1, 10)], "b": [(0, 2), (1, 200)]}, log_y=True)
    root = ElementTree.fromstring(drawn)
    assert len(root.findall("{*}polyline")) == 2
    words = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"t < u", "a", "b", "1", "10", "100", "1000"} <= set(words)
    assert render(drawn, 72, 40).shape == (40, 72, 4)


def test_higher_values_are_higher_in_the_picture() -> None:
    root = ElementTree.fromstring(lines("t", "x", "y", {"a": [(0, 0), (5, 10)]}))
    first, last = root.findall("{*}polyline")[0].get("points", "").split()
    assert float(first.split(",")[0]) < float(last.split(",")[0])
    assert float(first.split(",")[1]) > float(last.split(",")[1])


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        lines("t", "x", "y", {})
