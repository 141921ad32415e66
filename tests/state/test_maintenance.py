"""What is done now and then: once for all processes, again after one that failed or died, whatever the clock says."""

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
def site(state: State, tmp_path: Path) -> State:
    """With a schedule for backups."""
    plan = BackupSettings(url=(tmp_path / "backups").as_uri(), every_h=24, keep_days=30)
    return with_settings(state, backup=plan)


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


class Counted:
    """A chore that counts, and does what it is told."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, interval: timedelta = HOUR, max_duration: timedelta = HOUR / 2
    ) -> None:
        self.times = 0
        self.does: Callable[[], Any] = lambda: None
        chore = MaintenanceTask("counted", interval, max_duration, self._do)
        monkeypatch.setattr(maintenance, "maintenance_tasks", lambda _: [chore])

    async def _do(self, _: State) -> None:
        self.times += 1
        made = self.does()
        if asyncio.iscoroutine(made):
            await made


async def test_each_is_done_once_at_its_interval(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    for _ in range(3):
        await run_due_tasks(state)
    assert counted.times == 1
    await set_done_at(state, "counted", utc_now() - timedelta(minutes=59))
    await run_due_tasks(state)
    assert counted.times == 1
    await set_done_at(state, "counted", utc_now() - timedelta(minutes=61))
    await run_due_tasks(state)
    assert counted.times == 2


async def test_of_many_processes_one_does_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    counted.does = lambda: asyncio.sleep(0.05)
    patient = settings.database.model_copy(update={"timeout_s": 60.0})  # twelve wait for one file
    states = [await State.open(settings.model_copy(update={"database": patient})) for _ in range(6)]
    for round_ in range(1, 9):
        await asyncio.gather(*(run_due_tasks(one) for one in states for _ in range(2)))
        assert counted.times == round_
        await set_done_at(states[0], "counted", utc_now() - 2 * HOUR)
    for one in states:
        await one.close()


async def test_a_process_that_dies_at_it_stops_it_for_no_longer_than_it_may_take(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch, interval=24 * HOUR, max_duration=HOUR)

    async def die() -> None:
        raise KeyboardInterrupt  # leaves no time to write anything down, as a kill does

    counted.does = die
    with pytest.raises(KeyboardInterrupt):
        await run_due_tasks(state)
    await run_due_tasks(state)
    assert counted.times == 1, "it may still be at work"
    due_at = (await done_at(state))["counted"] + 24 * HOUR
    assert timedelta(minutes=59) < due_at - utc_now() <= HOUR
    await set_done_at(state, "counted", utc_now() - 24 * HOUR)  # an hour later
    counted.does = lambda: None
    await run_due_tasks(state)
    assert counted.times == 2


async def test_one_that_fails_is_tried_again_soon(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch, interval=24 * HOUR)

    async def fail() -> None:
        raise StateUnavailable("the store is away")

    counted.does = fail
    await run_due_tasks(state)
    due_at = (await done_at(state))["counted"] + 24 * HOUR
    assert timedelta(minutes=9) < due_at - utc_now() <= timedelta(minutes=10)


async def test_one_that_takes_too_long_is_ended(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch, max_duration=timedelta(milliseconds=50))
    counted.does = lambda: asyncio.sleep(60)
    async with asyncio.timeout(10):
        await run_due_tasks(state)
    assert counted.times == 1


@pytest.mark.parametrize("ahead", [timedelta(seconds=30), timedelta(days=400)])
async def test_a_clock_that_is_put_back_stops_nothing(
    state: State, monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    """What was done in the future is due."""
    counted = Counted(monkeypatch)
    await run_due_tasks(state)
    await set_done_at(state, "counted", utc_now() + ahead)
    await run_due_tasks(state)
    assert counted.times == 2
    assert (await done_at(state))["counted"] <= utc_now()


async def test_objects_that_nobody_needs_go(state: State) -> None:
    used = await state.objects.put(b"used", "image/png")
    unused = await state.objects.put(b"unused", "image/png")
    await insert(state.database, tables.generations, [generation(1)])
    await insert(state.database, tables.results, [result(1, object=used.name)])
    async with state.database.write() as connection:
        await connection.execute(sa.update(tables.objects).values(touched_at=utc_now() - 2 * HOUR))
    site = with_settings(state, objects=ObjectsSettings(keep_unused_h=1))
    await run_due_tasks(site)
    assert await state.objects.get(used.name) == b"used"
    async with state.database.read() as connection:
        assert unused.name not in (await connection.scalars(sa.select(tables.objects.c.name))).all()


async def test_events_of_jobs_that_ended_long_ago_go(state: State) -> None:
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


async def test_deliveries_that_are_over_go_with_the_events(state: State) -> None:
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
    assert await left(state, tables.deliveries.c.id) == ["delivered 6", "failed 6", "pending 6", "pending 8"]


async def test_measurements_go_that_no_range_reaches(state: State) -> None:
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
    assert await left(state, tables.measurements.c.generation_id) == ["1", "365"]


async def test_arms_go_with_the_measurements_of_their_generations(state: State) -> None:
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
    assert await left(state, tables.exposures.c.generation_id) == ["1", "365"]


async def test_batches_go_that_nothing_is_left_of(state: State) -> None:
    now = utc_now()
    ages = {"old": 25, "new": 23, "used": 1000}
    rows = [{"id": id_, "user_id": "ada", "size": 2, "created_at": now - age * HOUR} for id_, age in ages.items()]
    await insert(state.database, tables.batches, rows)
    await insert(state.database, tables.generations, [generation(1), generation(2, batch_id="used")])
    await run_due_tasks(state)
    assert await left(state, tables.batches.c.id) == ["new", "used"]


async def left(state: State, column: sa.Column[str]) -> list[str]:
    async with state.database.read() as connection:
        return list((await connection.scalars(sa.select(column).order_by(column))).all())


async def test_idempotency_keys_and_answers_go_with_their_time(state: State) -> None:
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
        left = sa.select(tables.idempotency_keys.c.key).order_by(tables.idempotency_keys.c.key)
        assert (await connection.scalars(left)).all() == ["1", "23"]
        assert (await connection.scalars(sa.select(tables.cache.c.key))).all() == ["new"]


async def test_backups_come_by_schedule_and_old_ones_go(site: State, tmp_path: Path) -> None:
    """C-131; nothing goes that the schedule did not make."""
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
    await run_due_tasks(site)
    (new,) = set(backups(tmp_path)) - {*kept, "below"}
    assert new.startswith(f"atelier-scheduled-{datetime.now(UTC):%Y}")
    assert set(kept) <= set(backups(tmp_path))
    assert (folder / "below" / "atelier-scheduled-20200101T000000Z.tar").exists()
    await run_due_tasks(site)
    assert len(backups(tmp_path)) == len(kept) + 2, "one a day"


async def test_a_backup_that_fails_deletes_none(site: State, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "atelier-scheduled-20200101T000000Z.tar").write_text("x")
    (site.settings.state_dir / "objects").rename(tmp_path / "gone")
    stored = {"name": "0" * 64 + ".png", "bytes": 1, "media_type": "image/png", "touched_at": utc_now()}
    await insert(site.database, tables.objects, [stored])
    await insert(site.database, tables.generations, [generation(1)])
    await insert(site.database, tables.results, [result(1, object=stored["name"])])
    await run_due_tasks(site)
    assert backups(tmp_path) == ["atelier-scheduled-20200101T000000Z.tar"]


async def test_without_a_place_for_backups_there_are_none(state: State) -> None:
    await run_due_tasks(state)
    names = {"events", "deliveries", "measurements", "exposures", "batches", "keys", "audit", "api_keys", "counters"}
    assert set(await done_at(state)) == names | {"cache", "objects"}


async def test_times_beyond_all_calendars_do_not_stop_it(state: State, tmp_path: Path) -> None:
    plan = BackupSettings(url=(tmp_path / "backups").as_uri(), every_h=1e300, keep_days=1e300)
    jobs = state.settings.jobs.model_copy(update={"keep_events_h": 1e300, "keep_keys_h": 1e300})
    await run_due_tasks(with_settings(state, backup=plan, jobs=jobs))
    assert len(backups(tmp_path)) == 1
