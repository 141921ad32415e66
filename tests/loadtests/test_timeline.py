"""What a run looked like, from what was seen: known requests give known moments."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageColor

from loadtests.lines import COLOURS, lines
from loadtests.scaling.known import Asked, Request
from loadtests.scaling.picture import draw
from loadtests.scaling.steps import steps_of
from loadtests.scaling.timeline import changes, highest_p95_s, timeline

SEEN = [(100.0, 1), (101.0, 1), (102.0, 2), (110.0, 1)]
REQUESTS = [{"began": 100.5, "ended": 101.5}, {"began": 100.5, "ended": 103.5}, {"began": 100.5, "ended": 108.5}]


def test_what_is_under_way_beyond_the_places_waits() -> None:
    moments = timeline(SEEN, REQUESTS, 1)
    assert [m.under_way for m in moments] == [0, 3, 2, 0]
    assert [m.waiting for m in moments] == [0, 2, 0, 0]


def test_p95_is_of_what_ended_lately() -> None:
    moments = timeline(SEEN, REQUESTS, 1)
    assert [m.p95_s for m in moments] == [None, None, 1.0, 8.0]
    assert highest_p95_s(moments, 0, 5) == 1.0


def test_changes_are_where_the_replicas_change() -> None:
    assert [(m.second, m.replicas) for m in changes(timeline(SEEN, REQUESTS, 1))] == [(0, 1), (2, 2), (10, 1)]


def test_steps_are_read() -> None:
    assert steps_of("1x20,12x90.5") == [(1, 20.0), (12, 90.5)]


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    draw(timeline(SEEN, REQUESTS, 1), "title", tmp_path / "media" / "scaling.png")
    with Image.open(tmp_path / "media" / "scaling.png") as picture:
        assert picture.size == (990, 770)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(2**16) or []}
    assert {ImageColor.getrgb(colour) for colour in COLOURS[:3]} <= colours


def test_each_series_has_a_line_and_a_name(tmp_path: Path) -> None:
    lines(tmp_path / "a.svg", "t < u", "x", "y", {"a": [(0, 1), (1, 10)], "b": [(0, 2), (1, 200)]}, log_y=True)
    drawn = (tmp_path / "a.svg").read_text()
    assert all(f"stroke: {colour}" in drawn for colour in COLOURS[:2])
    assert all(f"<!-- {words} -->" in drawn for words in ("t &lt; u", "a", "b", "x", "y"))


def test_requests_are_told_apart() -> None:
    asked = Asked(
        [
            Request(0.0, 1.0, True, False, ()),
            Request(4.0, 9.0, True, False, ()),  # under way at 5
            Request(6.0, 12.0, True, False, ("503",)),
            Request(6.0, 130.0, False, False, ("503",)),
            Request(20.0, 21.0, False, True, ()),
        ]
    )
    assert (asked.right, asked.retried, asked.lost, asked.wrong) == (3, 2, 1, 1)
    assert Asked(asked.requests[:3]).recovered_after_s(5.0) == 7.0
    assert Asked(asked.requests[:1]).recovered_after_s(5.0) == 0.0
