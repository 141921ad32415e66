"""The timeline of a run, from its observations: known requests give known moments."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageColor

from loadtests.charts import COLOURS, lines
from loadtests.scaling.chart import draw
from loadtests.scaling.stack_metrics import IllustratorState, endpoint, read
from loadtests.scaling.steps import steps_of
from loadtests.scaling.timeline import Sample, changes, highest_p95_s, timeline
from serve.observability.metrics.prometheus import write_targets

SEEN = [Sample(100.0, 1, 1, 0), Sample(101.0, 2, 1, 2), Sample(102.0, 2, 2, 1), Sample(110.0, 2, 1, 0)]
REQUESTS = [{"began": 100.5, "ended": 101.5}, {"began": 100.5, "ended": 103.5}, {"began": 100.5, "ended": 108.5}]


def test_waits_of_callers_are_beside_the_stacks_metrics() -> None:
    moments = timeline(SEEN, REQUESTS)
    assert [m.under_way for m in moments] == [0, 3, 2, 0]
    assert [(m.replicas, m.ready, m.waiting) for m in moments] == [(1, 1, 0), (2, 1, 2), (2, 2, 1), (2, 1, 0)]


def test_p95_covers_recently_ended_requests() -> None:
    moments = timeline(SEEN, REQUESTS)
    assert [m.p95_s for m in moments] == [None, None, 1.0, 8.0]
    assert highest_p95_s(moments, 0, 5) == 1.0


def test_changes_are_where_ready_replicas_change() -> None:
    assert [(m.second, m.ready) for m in changes(timeline(SEEN, REQUESTS))] == [(0, 1), (2, 2), (10, 1)]


def test_steps_are_read() -> None:
    assert steps_of("1x20,12x90.5") == [(1, 20.0), (12, 90.5)]


def test_chart_is_drawn(tmp_path: Path) -> None:
    draw(timeline(SEEN, REQUESTS), "title", tmp_path / "media" / "scaling.png")
    with Image.open(tmp_path / "media" / "scaling.png") as picture:
        assert picture.size == (990, 770)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(2**16) or []}
    assert {ImageColor.getrgb(colour) for colour in COLOURS[:3]} <= colours


def test_each_series_has_a_line_and_a_name(tmp_path: Path) -> None:
    lines(tmp_path / "a.svg", "t < u", "x", "y", {"a": [(0, 1), (1, 10)], "b": [(0, 2), (1, 200)]}, log_y=True)
    drawn = (tmp_path / "a.svg").read_text()
    assert all(f"stroke: {colour}" in drawn for colour in COLOURS[:2])
    assert all(f"<!-- {words} -->" in drawn for words in ("t &lt; u", "a", "b", "x", "y"))


TOLD = """# HELP ray_serve_deployment_replica_healthy Healthy replicas.
# TYPE ray_serve_deployment_replica_healthy gauge
ray_serve_deployment_replica_healthy{application="atelier",deployment="Illustrator"} 2.0
ray_serve_deployment_replica_healthy{application="atelier",deployment="Vectorizer"} 1.0
ray_atelier_queue_waiting{WorkerId="a",ensemble="illustrate"} 3.0
ray_atelier_queue_waiting{WorkerId="b",ensemble="illustrate"} 1.0
ray_atelier_queue_waiting{WorkerId="c",ensemble="vectorize"} 7.0
ray_node_cpu_utilization{} 7.0
"""


def test_ready_and_waiting_are_the_metrics_of_the_illustrator(tmp_path: Path) -> None:
    assert read(TOLD) == IllustratorState(2, 4)
    assert read("") == IllustratorState(0, 0)
    node = {"NodeManagerAddress": "127.0.0.1", "MetricsExportPort": 1, "Alive": True}
    write_targets(tmp_path / "metrics.json", [node], 2)
    assert endpoint(tmp_path / "metrics.json") == "http://127.0.0.1:1/metrics"
