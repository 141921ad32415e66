"""Maintenance tasks: once for all processes, again after a failure or crash, with any clock change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from gallery_rows import generation, insert, result

from serve.errors import StateUnavailable
from serve.jobs.worker import maintenance
from serve.jobs.worker.maintenance import MaintenanceTask, run_due_tasks
from serve.settings import BackupSettings, ObjectsSettings, Settings
from serve.state import State, tables
from serve.state.tables import utc_now

HOUR = timedelta(hours=1)


@pytest.fixture
def site_with_backups(state: State, tmp_path: Path) -> State:
    """With a schedule for backups."""
    backup_settings = BackupSettings(url=(tmp_path / "backups").as_uri(), every_h=24, keep_days=30)
    return with_settings(state, backup=backup_settings)


def with_settings(state: State, **values: Any) -> State:
    return State(state.database, state.objects, state.settings.model_copy(update=values))


def backups(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "backups").glob("*"))


async def done_at(state: State) -> dict[str, datetime]:
    async with state.database.read() as connection:
        rows = await connection.execute(sa.select(tables.chores))
        return {row.name: row.done_at for row in rows}


async def set_done_at(state: State, name: str, when: datetime) -> None:
    async with state.database.write() as connection:
        mine = tables.chores.c.name == name
        await connection.execute(sa.update(tables.chores).where(mine).values(done_at=when))


class CountingTask:
    """A maintenance task that counts its runs and then calls ``does``."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, interval: timedelta = HOUR, max_duration: timedelta = HOUR / 2
    ) -> None:
        self.runs = 0
        self.action: Callable[[], Any] = lambda: None
        chore = MaintenanceTask("counted", interval, max_duration, self._do)
        monkeypatch.setattr(maintenance, "maintenance_tasks", lambda _: [chore])

    async def _do(self, _: State) -> None:
        self.runs += 1
        made = self.action()
        if asyncio.iscoroutine(made):
            await made


async def test_task_runs_once_per_interval(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    task = CountingTask(monkeypatch)
    for _ in range(3):
        await run_due_tasks(state)
    assert task.runs == 1
    await set_done_at(state, "counted", utc_now() - timedelta(minutes=59))
    await run_due_tasks(state)
    assert task.runs == 1
    await set_done_at(state, "counted", utc_now() - timedelta(minutes=61))
    await run_due_tasks(state)
    assert task.runs == 2


async def test_one_of_many_processes_runs_the_task(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    task = CountingTask(monkeypatch)
    task.action = lambda: asyncio.sleep(0.05)
    patient = settings.database.model_copy(update={"timeout_s": 60.0})  # twelve wait for one file
    states = [await State.open(settings.model_copy(update={"database": patient})) for _ in range(6)]
    for round_ in range(1, 9):
        await asyncio.gather(*(run_due_tasks(one) for one in states for _ in range(2)))
        assert task.runs == round_
        await set_done_at(states[0], "counted", utc_now() - 2 * HOUR)
    for one in states:
        await one.close()


async def test_crashed_task_runs_again_after_its_maximum_duration(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = CountingTask(monkeypatch, interval=24 * HOUR, max_duration=HOUR)

    async def die() -> None:
        raise KeyboardInterrupt  # like a kill, leaves no time to store anything

    task.action = die
    with pytest.raises(KeyboardInterrupt):
        await run_due_tasks(state)
    await run_due_tasks(state)
    assert task.runs == 1, "it may still be at work"
    due_at = (await done_at(state))["counted"] + 24 * HOUR
    assert timedelta(minutes=59) < due_at - utc_now() <= HOUR
    await set_done_at(state, "counted", utc_now() - 24 * HOUR)  # an hour later
    task.action = lambda: None
    await run_due_tasks(state)
    assert task.runs == 2


async def test_failed_task_is_retried_soon(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    task = CountingTask(monkeypatch, interval=24 * HOUR)

    async def fail() -> None:
        raise StateUnavailable("the store is away")

    task.action = fail
    await run_due_tasks(state)
    due_at = (await done_at(state))["counted"] + 24 * HOUR
    assert timedelta(minutes=9) < due_at - utc_now() <= timedelta(minutes=10)


async def test_task_is_cancelled_after_its_maximum_duration(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    task = CountingTask(monkeypatch, max_duration=timedelta(milliseconds=50))
    task.action = lambda: asyncio.sleep(60)
    async with asyncio.timeout(60):
        await run_due_tasks(state)
    assert task.runs == 1


@pytest.mark.parametrize("ahead", [timedelta(seconds=30), timedelta(days=400)])
async def test_clock_set_back_delays_no_task(state: State, monkeypatch: pytest.MonkeyPatch, ahead: timedelta) -> None:
    """A last run in the future is due again."""
    task = CountingTask(monkeypatch)
    await run_due_tasks(state)
    await set_done_at(state, "counted", utc_now() + ahead)
    await run_due_tasks(state)
    assert task.runs == 2
    assert (await done_at(state))["counted"] <= utc_now()


async def test_unused_objects_are_deleted(state: State) -> None:
    used = await state.objects.put(b"used", "image/png")
    unused = await state.objects.put(b"unused", "image/png")
    await insert(state.database, tables.generations, [generation(1)])
    await insert(state.database, tables.results, [result(1, object=used.name)])
    async with state.database.write() as connection:
        await connection.execute(sa.update(tables.objects).values(touched_at=utc_now() - 2 * HOUR))
    short_retention = with_settings(state, objects=ObjectsSettings(keep_unused_h=1))
    await run_due_tasks(short_retention)
    assert await state.objects.get(used.name) == b"used"
    async with state.database.read() as connection:
        assert unused.name not in (await connection.scalars(sa.select(tables.objects.c.name))).all()


async def test_events_of_old_jobs_are_deleted(state: State) -> None:
    now = utc_now()
    old, fresh = now - timedelta(days=8), now - timedelta(days=6)
    rows = [
        generation(1, status="completed", completed_at=old),
        generation(2, status="failed", completed_at=old),
        generation(3, status="cancelled", completed_at=fresh),
        generation(4, status="pending", completed_at=None),
    ]
    await insert(state.database, tables.generations, rows)
    await insert(
        state.database,
        tables.events,
        (
            {"generation_id": f"g{number}", "n": n, "kind": "x", "data": {}, "created_at": old}
            for number in range(1, 5)
            for n in range(1, 1501)
        ),
    )
    await run_due_tasks(state)
    async with state.database.read() as connection:
        query = sa.select(tables.events.c.generation_id, sa.func.count()).group_by(tables.events.c.generation_id)
        assert {row[0]: row[1] for row in await connection.execute(query)} == {"g3": 1500, "g4": 1500}


async def test_finished_deliveries_are_deleted_with_the_events(state: State) -> None:
    now = utc_now()
    await insert(state.database, tables.generations, [generation(1)])
    statuses, days = ("pending", "delivered", "failed"), (6, 8)
    rows = [
        {
            "id": f"{status} {age}", "generation_id": "g1", "event": 1, "url": "u", "host": "h", "kind": "completed",
            "body": {}, "status": status, "due_at": now, "created_at": now - timedelta(days=age),
        }
        for status in statuses
        for age in days
    ]  # fmt: skip
    await insert(state.database, tables.deliveries, rows)
    await run_due_tasks(state)
    assert await remaining(state, tables.deliveries.c.id) == ["delivered 6", "failed 6", "pending 6", "pending 8"]


async def test_measurements_beyond_every_range_are_deleted(state: State) -> None:
    """The longest range is 366 days (A-091)."""
    now = utc_now()
    rows = [
        {
            "generation_id": f"{age}", "user_id": "ada", "kind": "illustrate", "generation_time_s": 1.0,
            "success": True, "created_at": now - timedelta(days=age),
        }
        for age in (1, 365, 367, 4000)
    ]  # fmt: skip
    await insert(state.database, tables.measurements, rows)
    await run_due_tasks(state)
    assert await remaining(state, tables.measurements.c.generation_id) == ["1", "365"]


async def test_exposures_are_deleted_with_their_measurements(state: State) -> None:
    now = utc_now()
    rows = [
        {
            "experiment": "steps", "generation_id": f"{age}", "arm": "few", "user_id": "ada",
            "created_at": now - timedelta(days=age),
        }
        for age in (1, 365, 367)
    ]  # fmt: skip
    await insert(state.database, tables.exposures, rows)
    await run_due_tasks(state)
    assert await remaining(state, tables.exposures.c.generation_id) == ["1", "365"]


async def test_empty_batches_are_deleted(state: State) -> None:
    now = utc_now()
    ages = {"old": 25, "new": 23, "used": 1000}
    rows = [{"id": id_, "user_id": "ada", "size": 2, "created_at": now - age * HOUR} for id_, age in ages.items()]
    await insert(state.database, tables.batches, rows)
    await insert(state.database, tables.generations, [generation(1), generation(2, batch_id="used")])
    await run_due_tasks(state)
    assert await remaining(state, tables.batches.c.id) == ["new", "used"]


async def remaining(state: State, column: sa.Column[str]) -> list[str]:
    async with state.database.read() as connection:
        return list((await connection.scalars(sa.select(column).order_by(column))).all())


async def test_expired_idempotency_keys_and_answers_are_deleted(state: State) -> None:
    now = utc_now()
    keys = [
        {"user_id": "ada", "key": f"{hours}", "body_hash": "", "target": "g", "created_at": now - hours * HOUR}
        for hours in (1, 23, 25, 1000)
    ]
    await insert(state.database, tables.idempotency_keys, keys)
    answer = {"kind": "x", "answer": 1, "bytes": 1, "created_at": now - 2 * HOUR, "used_at": now}
    await insert(
        state.database,
        tables.cache,
        [{"key": "old", "expires_at": now - HOUR, **answer}, {"key": "new", "expires_at": now + HOUR, **answer}],
    )
    await run_due_tasks(state)
    async with state.database.read() as connection:
        remaining = sa.select(tables.idempotency_keys.c.key).order_by(tables.idempotency_keys.c.key)
        assert (await connection.scalars(remaining)).all() == ["1", "23"]
        assert (await connection.scalars(sa.select(tables.cache.c.key))).all() == ["new"]


async def test_scheduled_backups_are_made_and_old_ones_deleted(site_with_backups: State, tmp_path: Path) -> None:
    """C-131; only backups made by the schedule are deleted."""
    folder = tmp_path / "backups"
    folder.mkdir()
    old, fresh = (datetime.now(UTC) - timedelta(days=days) for days in (31, 29))
    kept = [
        f"atelier-scheduled-{fresh:%Y%m%dT%H%M%SZ}.tar", "atelier-20200101T000000Z.tar", "notes.txt",
        "atelier-scheduled-20200101T000000Z.tar.old", "atelier-scheduled-20201301T000000Z.tar",
    ]  # fmt: skip
    for name in [f"atelier-scheduled-{old:%Y%m%dT%H%M%SZ}.tar", *kept]:
        (folder / name).write_text("x")
    (folder / "below").mkdir()
    (folder / "below" / "atelier-scheduled-20200101T000000Z.tar").write_text("x")
    await run_due_tasks(site_with_backups)
    (new,) = set(backups(tmp_path)) - {*kept, "below"}
    assert new.startswith(f"atelier-scheduled-{datetime.now(UTC):%Y}")
    assert set(kept) <= set(backups(tmp_path))
    assert (folder / "below" / "atelier-scheduled-20200101T000000Z.tar").exists()
    await run_due_tasks(site_with_backups)
    assert len(backups(tmp_path)) == len(kept) + 2, "one a day"


async def test_failed_backup_deletes_no_old_one(site_with_backups: State, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "atelier-scheduled-20200101T000000Z.tar").write_text("x")
    (site_with_backups.settings.state_dir / "objects").rename(tmp_path / "gone")
    stored = {"name": "0" * 64 + ".png", "bytes": 1, "media_type": "image/png", "touched_at": utc_now()}
    await insert(site_with_backups.database, tables.objects, [stored])
    await insert(site_with_backups.database, tables.generations, [generation(1)])
    await insert(site_with_backups.database, tables.results, [result(1, object=stored["name"])])
    await run_due_tasks(site_with_backups)
    assert backups(tmp_path) == ["atelier-scheduled-20200101T000000Z.tar"]


async def test_no_backups_without_a_backup_url(state: State) -> None:
    await run_due_tasks(state)
    names = {"events", "deliveries", "measurements", "exposures", "batches", "keys", "audit", "api_keys", "counters"}
    assert set(await done_at(state)) == names | {"cache", "objects", "samples"}


async def test_extreme_intervals_do_not_stop_maintenance(state: State, tmp_path: Path) -> None:
    backup_settings = BackupSettings(url=(tmp_path / "backups").as_uri(), every_h=1e300, keep_days=1e300)
    jobs = state.settings.jobs.model_copy(update={"keep_events_h": 1e300, "keep_keys_h": 1e300})
    await run_due_tasks(with_settings(state, backup=backup_settings, jobs=jobs))
    assert len(backups(tmp_path)) == 1
