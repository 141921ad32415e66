"""Backup and restore (C-131): the restored site is equal, on both databases and from one to the other."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import resource
import tarfile
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from gallery_rows import generation, insert, result
from populated_site import DRAWING, PICTURES, content, fill
from pydantic import SecretStr

from loadtests.chaos.s3_server import S3Server
from loadtests.queue.postgresql import PostgreSQL
from serve.errors import AtelierError, Conflict, InvalidRequest, NotFound, OutOfSpace, StateUnavailable
from serve.jobs.backup_restore import restore
from serve.settings import BackupSettings, DatabaseSettings, Settings
from serve.state import State, tables
from serve.state.backups.writing import backup
from serve.state.objects.names import path_of


@pytest.fixture(params=["to sqlite", "to postgresql"])
def target_site(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """An empty site."""
    folder = tmp_path / "elsewhere"
    if request.param == "to sqlite":
        return Settings(state_dir=folder)
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return Settings(state_dir=folder, database=DatabaseSettings(url=SecretStr(server.new_database())))


@pytest.fixture
def empty_site(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Settings:
    """A new site on the same kind of database as ``settings``."""
    database = DatabaseSettings()
    if not str(settings.database.url).startswith("sqlite") and "postgresql" in request.node.name:
        server: PostgreSQL = request.getfixturevalue("postgresql")
        database = DatabaseSettings(url=SecretStr(server.new_database()))
    return Settings(state_dir=tmp_path / "empty", database=database)


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[State]:
    state = await State.open(settings)
    try:
        yield state
    finally:
        await state.close()


async def test_restored_site_is_equal(state: State, target_site: Settings, tmp_path: Path) -> None:
    names = await fill(state)
    before = await content(state.database)
    report = await backup(state, str(tmp_path / "backups"))
    assert (report.objects, report.missing) == (len(names), [])
    assert report.rows == sum(len(rows) for rows in before.values()) - 1, "an object that nobody uses is left out"
    done = await restore(target_site, report.location)
    assert (done.rows, done.objects, done.missing) == (report.rows, report.objects, 0)
    async with opened(target_site) as restored:
        after = await content(restored.database)
        for name in before:
            if name not in ("generations", "jobs", "events", "objects", "deliveries"):  # compared below
                assert after[name] == before[name], name
        assert [row[:-1] for row in after["objects"]] == [row[:-1] for row in before["objects"] if row[0] in names]
        for name, data in zip(names, [*PICTURES, DRAWING], strict=True):
            assert await restored.objects.get(name) == data
        async with restored.database.read() as connection:
            for table in (tables.workers, tables.flights, tables.lanes, tables.chores):
                assert (await connection.execute(sa.select(table))).all() == []


async def test_restored_running_jobs_are_pending(state: State, empty_site: Settings, tmp_path: Path) -> None:
    """They continue from their checkpoints; deliveries of a dead process are released."""
    await fill(state)
    report = await backup(state, str(tmp_path))
    await restore(empty_site, report.location)
    async with opened(empty_site) as restored, restored.database.read() as connection:
        j, g, e = tables.jobs.c, tables.generations.c, tables.events.c
        query = sa.select(j.status, g.status, j.worker_id, j.events).join(tables.generations).order_by(j.seq)
        rows = [tuple(row) for row in await connection.execute(query)]
        assert rows == [("pending", "pending", None, 2), ("pending", "pending", None, 0)]
        assert (await connection.scalars(sa.select(e.kind).where(e.generation_id == "g3"))).all()[-1] == "retrying"
        assert await connection.scalar(sa.select(tables.checkpoints.c.step)) == 5
        assert await connection.scalar(sa.select(tables.deliveries.c.worker_id)) is None


async def test_sequences_continue_after_a_restore(state: State, empty_site: Settings, tmp_path: Path) -> None:
    await insert(state.database, tables.generations, [generation(n) for n in range(3)])
    report = await backup(state, str(tmp_path))
    await restore(empty_site, report.location)
    async with opened(empty_site) as restored:
        await insert(restored.database, tables.generations, [generation(3)])
        await insert(restored.database, tables.measurements, [{
            "generation_id": "g", "user_id": "a", "kind": "x", "generation_time_s": 1.0, "success": True,
            "created_at": generation(1)["created_at"],
        }])  # fmt: skip
        async with restored.database.read() as connection:
            g = tables.generations.c
            assert (await connection.scalars(sa.select(g.seq).order_by(g.seq))).all() == [1, 2, 3, 4]


async def test_empty_site_is_backed_up(state: State, empty_site: Settings, tmp_path: Path) -> None:
    report = await backup(state, str(tmp_path))
    assert (report.rows, report.objects) == (0, 0)
    assert (await restore(empty_site, report.location)).rows == 0


async def test_backup_is_a_standard_tar(state: State, tmp_path: Path) -> None:
    names = await fill(state)
    report = await backup(state, str(tmp_path / "backup.tar"))
    assert report.location == str(tmp_path / "backup.tar")
    assert report.bytes == (tmp_path / "backup.tar").stat().st_size
    with tarfile.open(report.location) as archive:
        members = archive.getnames()
        picture = archive.extractfile(f"objects/{names[3]}")
        assert picture is not None
        assert picture.read() == PICTURES[3]
    assert members[-1] == "manifest.json"
    assert {f"objects/{name}" for name in names} <= set(members)


async def test_backup_is_consistent_during_writes(state: State, empty_site: Settings, tmp_path: Path) -> None:
    """At any moment of the backup, every picture of every row is present."""
    numbers = itertools.count()
    begun, done = asyncio.Event(), asyncio.Event()

    async def draw() -> None:
        while not done.is_set():
            number = next(numbers)
            stored = await state.objects.put(f"picture {number}".encode() * 1000, "image/png")
            async with state.database.write() as connection:
                await connection.execute(tables.generations.insert().values(**generation(number)))
                await connection.execute(tables.results.insert().values(**result(number, object=stored.name)))
                if number % 3 == 2:
                    old = tables.generations.c.id == f"g{number - 2}"
                    await connection.execute(sa.delete(tables.generations).where(old))
            if number > 60:
                begun.set()

    writers = [asyncio.create_task(draw()) for _ in range(3)]
    await begun.wait()
    reports = [await backup(state, str(tmp_path / f"{number}.tar")) for number in range(4)]
    done.set()
    await asyncio.gather(*writers)
    assert [one.missing for one in reports] == [[]] * 4
    assert reports[0].rows < reports[3].rows
    await restore(empty_site, reports[2].location)
    async with opened(empty_site) as restored:
        async with restored.database.read() as connection:
            r = tables.results.c
            rows = (await connection.execute(sa.select(r.generation_id, r.object))).all()
        assert len(rows) > 30
        for row in rows:
            number = int(row.generation_id[1:])
            assert await restored.objects.get(row.object) == f"picture {number}".encode() * 1000


async def test_missing_objects_are_reported_and_the_rest_is_restored(
    state: State, empty_site: Settings, tmp_path: Path
) -> None:
    names = await fill(state)
    folder = state.settings.state_dir / "objects"
    (folder / path_of(names[1])).unlink()
    (folder / path_of(names[4])).write_bytes(b"not what it was")
    report = await backup(state, str(tmp_path))
    assert sorted(report.missing) == sorted([names[1], names[4]])
    done = await restore(empty_site, report.location)
    assert (done.objects, done.missing) == (len(names) - 2, 2)
    async with opened(empty_site) as restored:
        assert await restored.objects.get(names[0]) == PICTURES[0]
        with pytest.raises(NotFound):
            await restored.objects.get(names[1])


async def test_existing_generations_are_replaced_only_with_force(
    state: State, settings: Settings, tmp_path: Path
) -> None:
    await fill(state)
    report = await backup(state, str(tmp_path))
    await insert(state.database, tables.generations, [generation(77)])
    newer = await state.objects.put(b"newer than the backup", "image/png")
    await insert(state.database, tables.results, [result(77, object=newer.name)])
    before = await content(state.database)
    with pytest.raises(Conflict, match="6 generations"):
        await restore(settings, report.location)
    assert await content(state.database) == before
    await restore(settings, report.location, force=True)
    after = await content(state.database)
    assert len(after["generations"]) == 5
    assert newer.name in [row[0] for row in after["objects"]], "it is in the store: somebody has to know, to delete it"


async def test_existing_file_is_never_overwritten(state: State, tmp_path: Path) -> None:
    target = tmp_path / "mine.tar"
    target.write_text("precious")
    with pytest.raises(InvalidRequest, match="there already"):
        await backup(state, str(target))
    assert target.read_text() == "precious"


@pytest.mark.parametrize("source", ["nothing.tar", "."])
async def test_missing_source_is_refused(empty_site: Settings, tmp_path: Path, source: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await restore(empty_site, str(tmp_path / source))
    assert caught.value.field == "source"


@contextlib.contextmanager
def small_disk(size: int) -> Iterator[None]:
    """Limits the size of files that this process writes: to the process, that is a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [100, 20_000, 200_000])
async def test_full_disk_leaves_no_partial_backup(state: State, tmp_path: Path, size: int) -> None:
    """Neither at the target nor in the folder for temporary parts."""
    await fill(state)
    folder = tmp_path / "backups"
    with pytest.raises(OutOfSpace):
        await _with_small_disk(backup(state, str(folder)), size)
    assert list(folder.iterdir()) == []
    assert [path.name for path in state.settings.state_dir.iterdir()] == ["objects"]
    await backup(state, str(folder))
    assert len(list(folder.iterdir())) == 1


async def _with_small_disk(work: object, size: int) -> None:
    with small_disk(size):
        await work  # type: ignore[misc]


@pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True)
@pytest.mark.parametrize("force", [False, True])
async def test_full_disk_leaves_the_database_unchanged(state: State, tmp_path: Path, force: bool) -> None:
    """SQLite only: PostgreSQL's disk is its server's."""
    await fill(state)
    report = await backup(state, str(tmp_path))
    target = Settings(state_dir=tmp_path / "target")
    async with opened(target) as target_state:
        if force:
            await insert(target_state.database, tables.generations, [generation(1)])
        before = await content(target_state.database)
    with pytest.raises(OutOfSpace):
        await _with_small_disk(restore(target, report.location, force), 300_000)
    async with opened(target) as target_state:
        assert await content(target_state.database) == before
    await restore(target, report.location, force)


async def test_full_disk_during_restore_names_the_force_option(state: State, tmp_path: Path) -> None:
    big = await state.objects.put(os.urandom(3_000_000), "image/png")
    await insert(state.database, tables.generations, [generation(1)])
    await insert(state.database, tables.results, [result(1, object=big.name)])
    report = await backup(state, str(tmp_path))
    target = Settings(state_dir=tmp_path / "target")
    with pytest.raises(OutOfSpace, match="--force"):
        await _with_small_disk(restore(target, report.location), 2_000_000)
    await restore(target, report.location, force=True)
    async with opened(target) as backup_settings:
        assert len(await backup_settings.objects.get(big.name)) == 3_000_000


async def test_backup_to_an_s3_store(state: State, empty_site: Settings, tmp_path: Path) -> None:
    names = await fill(state)
    with S3Server.started() as server:
        bucket = server.new_store()
        backup_settings = BackupSettings(options=bucket.options)
        source = State(state.database, state.objects, state.settings.model_copy(update={"backup": backup_settings}))
        report = await backup(source, f"{bucket.url}/daily")
        assert report.location.startswith(f"{bucket.url}/daily/atelier-2")
        with pytest.raises(InvalidRequest, match="there already"):
            await backup(source, report.location)
        done = await restore(empty_site.model_copy(update={"backup": backup_settings}), report.location)
        assert done.objects == len(names)
        with pytest.raises(NotFound):
            await restore(
                empty_site.model_copy(update={"backup": backup_settings}), f"{bucket.url}/other.tar", force=True
            )
        with pytest.raises(AtelierError) as caught:
            await backup(source, "s3://no-such-bucket-anywhere/daily")
        assert isinstance(caught.value, StateUnavailable)


@pytest.mark.slow
async def test_memory_is_bounded(state: State, empty_site: Settings, tmp_path: Path) -> None:
    """30 pictures of 1 MB, and a checkpoint of 1 MB for each."""
    await insert(state.database, tables.generations, [generation(n) for n in range(30)])
    for number in range(30):
        stored = await state.objects.put(os.urandom(1_000_000), "image/png")
        await insert(state.database, tables.results, [result(number, object=stored.name)])
        point = {"generation_id": f"g{number}", "place": 0, "step": 1, "data": os.urandom(1_000_000)}
        await insert(state.database, tables.checkpoints, [point])
    tracemalloc.start()
    report = await backup(state, str(tmp_path))
    _, most_backup = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    await restore(empty_site, report.location)
    _, most_restore = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.bytes > 60_000_000
    assert most_backup < 50_000_000
    assert most_restore < 50_000_000
