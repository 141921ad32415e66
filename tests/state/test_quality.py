"""Measurements (A-090) and the quality metrics computed from them (A-091), on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from serve.errors import InvalidRequest
from serve.state.database import Database
from serve.state.quality import GenerationMetrics, MetricsCollector
from serve.state.tables import utc_now


async def record(database: Database, *rows: dict[str, Any]) -> None:
    collector = MetricsCollector(database)
    async with database.write() as connection:
        for number, row in enumerate(rows):
            values = {"generation_time": 1.0, "success": True, "model_used": "mini", **row}
            await collector.record_generation(connection, GenerationMetrics(f"g{number}", "ada", "a fox", **values))


async def test_metrics_of_an_empty_range_are_none(database: Database) -> None:
    metrics = await MetricsCollector(database).get_quality_metrics()
    assert metrics["total"] == metrics["successes"] == 0
    assert metrics["success_rate"] is metrics["cache_hit_rate"] is metrics["p95_generation_time_s"] is None
    assert metrics["average_generation_time_s"] is None
    assert metrics["by_model"] == metrics["by_day"] == metrics["errors"] == []


async def test_rates_and_generation_times(database: Database) -> None:
    await record(
        database,
        *({"generation_time": float(number)} for number in range(1, 21)),
        *[{"generation_time": 0.001, "cached": True}] * 5,
        *[{"success": False, "generation_time": 90.0, "error_message": "the engine is gone", "model_used": None}] * 3,
        {"success": False, "error_message": "no pixels", "kind": "vectorize", "model_used": None},
    )
    metrics = await MetricsCollector(database).get_quality_metrics("24h")
    assert (metrics["total"], metrics["successes"]) == (29, 25)
    assert metrics["success_rate"] == pytest.approx(25 / 29)
    assert metrics["cache_hit_rate"] == pytest.approx(5 / 29)
    assert metrics["average_generation_time_s"] == pytest.approx(10.5)
    assert (metrics["p50_generation_time_s"], metrics["p95_generation_time_s"]) == (10.0, 19.0)
    assert metrics["errors"] == [{"message": "the engine is gone", "total": 3}, {"message": "no pixels", "total": 1}]
    assert [(row["model"], row["total"], row["success_rate"]) for row in metrics["by_model"]] == [
        ("mini", 25, 1.0),
        (None, 4, 0.0),
    ]
    assert [(row["kind"], row["total"]) for row in metrics["by_kind"]] == [("illustrate", 28), ("vectorize", 1)]
    assert sum(day["total"] for day in metrics["by_day"]) == 29


async def test_only_measurements_within_the_range_count(database: Database) -> None:
    now = utc_now()
    ages = [timedelta(minutes=m) for m in (1, 80, 100)] + [timedelta(hours=25), timedelta(days=6), timedelta(days=29)]
    await record(database, *({"timestamp": now - age} for age in ages))
    collector = MetricsCollector(database)
    totals = [(await collector.get_quality_metrics(span))["total"] for span in ("90m", "24h", "7d", "30d")]
    assert totals == [2, 3, 5, 6]
    days = [day["day"] for day in (await collector.get_quality_metrics("30d"))["by_day"]]
    assert days == sorted(days)
    assert (now - timedelta(days=29)).date().isoformat() == days[0]


async def test_errors_and_groups_are_limited(database: Database) -> None:
    await record(
        database,
        *({"success": False, "error_message": f"{n:03d} {'x' * 9000}", "model_used": f"m{n}"} for n in range(60)),
    )
    metrics = await MetricsCollector(database).get_quality_metrics("1d")
    assert len(metrics["errors"]) == 10
    assert max(len(error["message"]) for error in metrics["errors"]) == 500
    assert len(metrics["by_model"]) == 50


async def test_invalid_ranges_are_refused(database: Database) -> None:
    for text in ("", "7", "d", "0d", "-1d", "7w", "7d ", "367d", "99999h", "٧d", "1e3d", "7D"):
        with pytest.raises(InvalidRequest) as caught:
            await MetricsCollector(database).get_quality_metrics(text)
        assert caught.value.field == "range", text
