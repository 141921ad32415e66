"""The report of an experiment (D-083): which rows count, and its metrics, on both databases."""

from __future__ import annotations

import json

import pytest
from arms import Made, experiment
from scipy import stats
from typer.testing import CliRunner

from serve.cli.main import app
from serve.errors import NotFound
from serve.releases.experiments.intervals import wilson
from serve.releases.experiments.report import report_of
from serve.settings import DatabaseSettings
from serve.state.database import Database
from serve.state.tables import exposures, utc_now

TWO = {"steps": experiment(min_units=2)}


async def test_rows_that_count(database: Database) -> None:
    made = Made(database)
    await made.add("few", "ada", favorite=True, rating=5.0, score=[0.5, 0.7], seconds=2.0)
    await made.add("few", "bob", rating=4.0, seconds=4.0)
    await made.add("few", "cleo", rating=3.0, seconds=6.0, feedback="like")
    await made.add("few", "dan", feedback="download", cached=True, seconds=0.01)
    await made.add("few", "eve", success=False, seconds=9.0)
    await made.add("few", "fay", deleted=True, seconds=8.0)
    async with database.write() as connection:  # one that is not finished, and one of another experiment
        row = {"arm": "few", "user_id": "gus", "created_at": utc_now()}
        await connection.execute(exposures.insert(), {"experiment": "steps", "generation_id": "u", **row})
        await connection.execute(exposures.insert(), {"experiment": "other", "generation_id": "g00001", **row})
    report = await report_of(database, "steps", TWO)
    few, many = report.arms
    assert (few.users, few.units, few.generations) == (6, 6, 6)
    assert (many.users, many.units, many.generations) == (0, 0, 0)
    converted, errors = few.metrics["conversion_rate"], few.metrics["error_rate"]
    assert (converted.value, converted.n) == (pytest.approx(3 / 5), 5)
    assert (errors.value, errors.n) == (pytest.approx(1 / 6), 6)
    assert (few.metrics["mean_rating"].value, few.metrics["mean_rating"].n) == (pytest.approx(4.0), 3)
    assert (few.metrics["mean_quality"].value, few.metrics["mean_quality"].units) == (pytest.approx(0.6), 1)
    assert (few.metrics["mean_time_s"].value, few.metrics["mean_time_s"].n) == (pytest.approx(5.0), 4)
    assert report.note == "not enough yet: many has 0 of 2 users or single requests"
    assert not report.enough
    assert report.difference is None
    assert json.loads(json.dumps(report.to_json()))["since"] is not None


async def test_intervals_and_the_difference(database: Database) -> None:
    made = Made(database)
    times = {"few": [1.0, 2.0, 3.0, 4.0], "many": [4.0, 5.0, 7.0, 9.0, 5.0]}
    for arm, seconds in times.items():
        for place, one in enumerate(seconds):
            await made.add(arm, f"{arm}{place}", seconds=one, favorite=place == 0)
    report = await report_of(database, "steps", TWO)
    few = report.arms[0].metrics
    assert (few["conversion_rate"].low, few["conversion_rate"].high) == pytest.approx(wilson(1 / 4, 3.0), abs=0.1)
    low, high = stats.t.interval(0.95, 3, 2.5, stats.sem(times["few"]))
    assert (few["mean_time_s"].low, few["mean_time_s"].high) == pytest.approx((low, high))
    assert report.difference is not None
    expected = stats.ttest_ind(times["many"], times["few"], equal_var=False).confidence_interval(0.95)
    between = report.difference["mean_time_s"]
    assert (between.low, between.high) == pytest.approx((expected.low, expected.high))
    assert report.difference["conversion_rate"].value == pytest.approx(1 / 5 - 1 / 4)
    assert report.difference["mean_quality"].value is None


async def test_users_are_counted_instead_of_generations(database: Database) -> None:
    """A user with twenty generations counts once; each anonymous request counts by itself."""
    made = Made(database)
    for _ in range(20):
        await made.add("few", "ada", favorite=True)
    for _ in range(3):
        await made.add("few", "bob")
        await made.add("many", "anonymous")
    report = await report_of(database, "steps", {"steps": experiment(min_units=3)})
    few, many = report.arms
    assert (few.users, few.units, few.generations) == (2, 2, 23)
    assert (many.users, many.units, many.generations) == (0, 3, 3)
    assert not report.enough
    assert few.metrics["conversion_rate"].value == pytest.approx(20 / 23)
    assert few.metrics["conversion_rate"].low is not None
    assert few.metrics["conversion_rate"].low < wilson(20 / 23, 23)[0] - 0.1


async def test_more_than_two_arms_are_not_compared(database: Database) -> None:
    arms = {"arms": {"a": {}, "b": {}, "c": {}}}
    made = Made(database)
    for arm in arms["arms"]:
        for user in ("ada", "bob", "cleo"):
            await made.add(arm, f"{arm} {user}")
    report = await report_of(database, "steps", {"steps": experiment(arms, min_units=2)})
    assert report.enough
    assert report.difference is None
    with pytest.raises(NotFound, match="the settings name: steps"):
        await report_of(database, "other", TWO)


def test_report_command(database_settings: DatabaseSettings, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    url = database_settings.url
    assert url is not None
    monkeypatch.setenv("ATELIER_DATABASE__URL", url.get_secret_value())
    monkeypatch.setenv("ATELIER_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("ATELIER_EXPERIMENTS", '{"steps": {"arms": {"few": {}, "many": {}}}}')
    run = CliRunner()
    document = json.loads(run.invoke(app, ["experiments", "report", "steps", "--json"]).output)
    assert [arm["arm"] for arm in document["arms"]] == ["few", "many"]
    assert document["confidence"] == 0.95
    shown = run.invoke(app, ["experiments", "report", "steps"]).output
    assert "not enough yet: few has 0 of 30; many has 0 of 30" in shown
    assert run.invoke(app, ["experiments", "report", "other"]).exit_code == 2
