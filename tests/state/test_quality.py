"""The rows of A-090 and what they come to (A-091), on both databases."""

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


async def test_nothing_happened_is_told_without_a_division_by_zero(database: Database) -> None:
    told = await MetricsCollector(database).get_quality_metrics()
    assert told["total"] == told["successes"] == 0
    assert told["success_rate"] is told["cache_hit_rate"] is told["p95_generation_time_s"] is None
    assert told["average_generation_time_s"] is None
    assert told["by_model"] == told["by_day"] == told["errors"] == []


async def test_rates_and_times(database: Database) -> None:
    await record(
        database,
        *({"generation_time": float(number)} for number in range(1, 21)),
        *[{"generation_time": 0.001, "cached": True}] * 5,
        *[{"success": False, "generation_time": 90.0, "error_message": "the engine is gone", "model_used": None}] * 3,
        {"success": False, "error_message": "no pixels", "kind": "vectorize", "model_used": None},
    )
    told = await MetricsCollector(database).get_quality_metrics("24h")
    assert (told["total"], told["successes"]) == (29, 25)
    assert told["success_rate"] == pytest.approx(25 / 29)
    assert told["cache_hit_rate"] == pytest.approx(5 / 29)
    assert told["average_generation_time_s"] == pytest.approx(10.5)
    assert (told["p50_generation_time_s"], told["p95_generation_time_s"]) == (10.0, 19.0)
    assert told["errors"] == [{"message": "the engine is gone", "total": 3}, {"message": "no pixels", "total": 1}]
    assert [(row["model"], row["total"], row["success_rate"]) for row in told["by_model"]] == [
        ("mini", 25, 1.0),
        (None, 4, 0.0),
    ]
    assert [(row["kind"], row["total"]) for row in told["by_kind"]] == [("illustrate", 28), ("vectorize", 1)]
    assert sum(day["total"] for day in told["by_day"]) == 29


async def test_only_what_is_within_the_range_counts(database: Database) -> None:
    now = utc_now()
    ages = [timedelta(minutes=m) for m in (1, 80, 100)] + [timedelta(hours=25), timedelta(days=6), timedelta(days=29)]
    await record(database, *({"timestamp": now - age} for age in ages))
    collector = MetricsCollector(database)
    totals = [(await collector.get_quality_metrics(span))["total"] for span in ("90m", "24h", "7d", "30d")]
    assert totals == [2, 3, 5, 6]
    days = [day["day"] for day in (await collector.get_quality_metrics("30d"))["by_day"]]
    assert days == sorted(days)
    assert (now - timedelta(days=29)).date().isoformat() == days[0]


async def test_errors_and_groups_are_bounded(database: Database) -> None:
    await record(
        database,
        *({"success": False, "error_message": f"{n:03d} {'x' * 9000}", "model_used": f"m{n}"} for n in range(60)),
    )
    told = await MetricsCollector(database).get_quality_metrics("1d")
    assert len(told["errors"]) == 10
    assert max(len(error["message"]) for error in told["errors"]) == 500
    assert len(told["by_model"]) == 50


@pytest.mark.parametrize("text", ["", "7", "d", "0d", "-1d", "7w", "7d ", "367d", "99999h", "٧d", "1e3d", "7D"])
async def test_a_range_that_is_none_is_refused(database: Database, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await MetricsCollector(database).get_quality_metrics(text)
    assert caught.value.field == "range"
