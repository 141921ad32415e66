"""The object store in a folder and on a real S3 server (A-021, A-115, F 12)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from typer.testing import CliRunner

from loadtests.chaos.s3_server import SECRET, S3Server
from serve.cli import main
from serve.errors import InvalidRequest, NotFound, OutOfSpace, StateUnavailable
from serve.settings import DatabaseSettings, ObjectsSettings, Settings, load
from serve.state import tables
from serve.state.database import Database, database_url
from serve.state.objects import objects as objects_module
from serve.state.objects.names import name_of
from serve.state.objects.objects import PIECE_BYTES, Objects, protect
from serve.state.tables import utc_now

PNG = "image/png"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server.started() as server:
        yield server


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectsSettings:
    if request.param == "folder":
        return ObjectsSettings(url=(tmp_path / "a folder").as_uri())
    server: S3Server = request.getfixturevalue("s3")
    return server.new_store()


@pytest.fixture
def objects(store: ObjectsSettings, database: Database) -> Objects:
    return Objects(Settings(objects=store), database)


@dataclass
class Folder:
    """A store in the folder ``path``."""

    path: Path
    objects: Objects

    def files(self) -> list[str]:
        return sorted(path.name for path in self.path.rglob("*") if path.is_file())


@pytest.fixture
def folder(tmp_path: Path, database: Database) -> Folder:
    path = tmp_path / "objects"
    return Folder(path, Objects(Settings(objects=ObjectsSettings(url=path.as_uri())), database))


async def age(database: Database, by: timedelta = 2 * DAY) -> None:
    """Makes every object older by ``by``."""
    async with database.write() as connection:
        await connection.execute(sa.update(tables.objects).values(touched_at=utc_now() - by))


async def rows(database: Database) -> dict[str, tuple[int, str]]:
    async with database.read() as connection:
        o = tables.objects
        return {row.name: (row.bytes, row.media_type) for row in await connection.execute(sa.select(o))}


async def test_object_is_named_by_its_content(objects: Objects, database: Database) -> None:
    stored = await objects.put(b"a picture", PNG)
    assert stored.name == hashlib.sha256(b"a picture").hexdigest() + ".png"
    assert stored.bytes == 9
    assert await objects.get(stored.name) == b"a picture"
    assert await rows(database) == {stored.name: (9, PNG)}
    await objects.check()


async def test_equal_content_is_stored_once(objects: Objects, database: Database) -> None:
    first = await objects.put(b"same", PNG)
    await age(database)
    again = await objects.put_all([(b"same", PNG), (b"other", "image/svg+xml"), (b"same", PNG)])
    assert [one.name for one in again] == [first.name, name_of(b"other", "image/svg+xml"), first.name]
    assert len(await rows(database)) == 2
    assert await objects.delete_unused(DAY) == 0, "putting it again made it young"
    assert await objects.put_all([]) == []


async def test_concurrent_puts_of_equal_content(objects: Objects) -> None:
    stored = await asyncio.gather(*(objects.put_all([(b"x", PNG), (b"%d" % n, PNG)]) for n in range(8)))
    assert await asyncio.gather(*(objects.get(one.name) for pair in stored for one in pair))


async def test_ranges_are_read_in_pieces(objects: Objects) -> None:
    data = os.urandom(2 * PIECE_BYTES + 5)
    name = (await objects.put(data, PNG)).name
    whole = [piece async for piece in objects.read(name, 0, len(data))]
    assert [len(piece) for piece in whole] == [PIECE_BYTES, PIECE_BYTES, 5]
    assert b"".join(whole) == data
    assert b"".join([piece async for piece in objects.read(name, 7, 12)]) == data[7:12]
    assert [piece async for piece in objects.read(name, 7, 7)] == []


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "", "a.png", "0" * 64, "0" * 63 + "g.png", "0" * 64 + ".png\n", "0" * 64 + "/../x.png",
     "٣" * 64 + ".png", "0" * 64 + ".PNG", "0" * 64 + ".png#1"],
)  # fmt: skip
async def test_invalid_names_are_not_found(folder: Folder, name: str) -> None:
    with pytest.raises(NotFound):
        await folder.objects.get(name)
    with pytest.raises(NotFound):
        await anext(folder.objects.read(name, 0, 1))
    assert folder.files() == []


async def test_missing_object_is_not_found(objects: Objects) -> None:
    with pytest.raises(NotFound):
        await objects.get("0" * 64 + ".png")
    with pytest.raises(NotFound):
        await anext(objects.read("0" * 64 + ".png", 0, 1))


async def use(database: Database, name: str, table: str) -> None:
    """Refers to ``name`` in a row of ``table``; a second word of ``table`` names the column."""
    now, t = utc_now(), tables
    generation_row = {"id": "g", "user_id": "u", "kind": "illustrate", "status": "completed", "created_at": now}
    result = {"id": "r", "generation_id": "g", "object": "x", "media_type": PNG, "bytes": 1, "created_at": now}
    entry = {"key": "k", "kind": "x", "answer": {}, "bytes": 1, "created_at": now, "expires_at": now, "used_at": now}
    reference = {
        "id": "f", "user_id": "u", "subject_name": "s", "object": "x", "thumbnail": "x", "md5": "", "width": 1,
        "height": 1, "bytes": 1, "created_at": now,
    }  # fmt: skip
    rows_by_use: dict[str, list[tuple[sa.Table, dict[str, Any]]]] = {
        "result": [(t.generations, generation_row), (t.results, {**result, "object": name})],
        "thumbnail": [(t.generations, generation_row), (t.results, {**result, "thumbnail": name})],
        "cache": [(t.cache, entry), (t.cached_objects, {"key": "k", "object": name})],
        "reference": [(t.subject_references, {**reference, "object": name})],
        "reference thumbnail": [(t.subject_references, {**reference, "thumbnail": name})],
        "input": [(t.generations, generation_row), (t.inputs, {"generation_id": "g", "object": name})],
    }
    async with database.write() as connection:
        for table_, values in rows_by_use[table]:
            await connection.execute(table_.insert().values(**values))


@pytest.mark.parametrize("user", ["result", "thumbnail", "cache", "reference", "reference thumbnail", "input"])
async def test_only_unused_objects_are_deleted(folder: Folder, database: Database, user: str) -> None:
    used, unused = await folder.objects.put_all([(b"used", PNG), (b"unused", PNG)])
    await use(database, used.name, user)
    assert await folder.objects.delete_unused(DAY) == 0, "both are young"
    await age(database)
    assert await folder.objects.delete_unused(DAY) == 1
    assert list(await rows(database)) == folder.files() == [used.name]
    with pytest.raises(NotFound):
        await folder.objects.get(unused.name)


def test_every_object_column_is_a_reference_column() -> None:
    named = {c for table in tables.metadata.sorted_tables for c in table.c if c.name in ("object", "thumbnail")}
    assert named == set(objects_module.REFERENCE_COLUMNS)


async def test_deletion_is_limited_on_every_store(objects: Objects, database: Database) -> None:
    stored = await objects.put_all([(b"%d" % n, PNG) for n in range(5)])
    await age(database)
    assert await objects.delete_unused(DAY, limit=2) == 2
    assert await objects.delete_unused(DAY) == 3
    assert await rows(database) == {}
    for one in stored:
        with pytest.raises(NotFound):
            await objects.get(one.name)


async def test_deletion_tolerates_a_missing_file(folder: Folder, database: Database) -> None:
    stored = await folder.objects.put(b"x", PNG)
    (folder.path / stored.name[:2] / stored.name).unlink()
    await age(database)
    assert await folder.objects.delete_unused(DAY) == 1


@pytest.fixture
async def second_database(database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    """The same database, as another process opens it."""
    opened = Database(database_url(Settings(database=database_settings)), database_settings)
    yield opened
    await opened.close()


async def test_object_stored_during_its_deletion_exists_afterwards(
    store: ObjectsSettings, database: Database, second_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_objects, second_objects = (Objects(Settings(objects=store), one) for one in (database, second_database))
    stored = await first_objects.put(b"wanted again", PNG)
    await age(database)
    under_way, resume = asyncio.Event(), asyncio.Event()
    delete = objects_module.obstore.delete_async

    async def delayed_delete(*arguments: Any) -> None:
        under_way.set()
        await resume.wait()
        await delete(*arguments)

    monkeypatch.setattr(objects_module.obstore, "delete_async", delayed_delete)
    deleting = asyncio.create_task(first_objects.delete_unused(DAY))
    await under_way.wait()
    putting = asyncio.create_task(second_objects.put(b"wanted again", PNG))
    done, _ = await asyncio.wait([putting], timeout=0.3)
    assert not done, "it waits for the deletion"
    resume.set()
    assert await deleting == 1
    assert (await putting).name == stored.name
    assert await second_objects.get(stored.name) == b"wanted again"
    assert list(await rows(database)) == [stored.name]


async def test_object_stored_before_its_deletion_is_kept(
    folder: Folder, database: Database, second_database: Database
) -> None:
    """It is found unused, and another process stores it before the deletion."""
    stored = await folder.objects.put(b"x", PNG)
    await age(database)
    deletion = objects_module._unused_query(utc_now() - DAY)
    async with database.read() as connection:
        assert (await connection.scalars(deletion)).all() == [stored.name]
    await folder.objects.put(b"x", PNG)
    assert not await folder.objects._delete(stored.name, deletion)
    assert await folder.objects.get(stored.name) == b"x"


async def test_protected_objects_are_not_deleted(folder: Folder, database: Database, second_database: Database) -> None:
    """A cached answer becomes a result while its cache entry is deleted."""
    stored = await folder.objects.put(b"cached", PNG)
    await age(database)
    second_objects = Objects(Settings(objects=ObjectsSettings(url=folder.path.as_uri())), second_database)
    async with database.write() as connection:
        assert await protect(connection, [stored.name, stored.name])
        deleting = asyncio.create_task(second_objects.delete_unused(DAY))
        await asyncio.wait([deleting], timeout=0.3)
        assert folder.files() == [stored.name]
    assert await deleting == 0
    async with database.write() as connection:
        assert not await protect(connection, [stored.name, "0" * 64 + ".png"])
        assert await protect(connection, [])


async def test_partial_files_of_killed_processes_are_deleted(folder: Folder) -> None:
    half = folder.path / "00" / ("0" * 64 + ".png#1")
    half.parent.mkdir()
    half.write_bytes(b"ha")
    await folder.objects.delete_unused(DAY)
    assert half.exists(), "it may be under way"
    long_ago = time.time() - 2 * DAY.total_seconds()
    os.utime(half, (long_ago, long_ago))
    await folder.objects.delete_unused(DAY)
    assert not half.exists()


async def check_unavailable(objects: Objects, name: str, within_s: float) -> None:
    """Checks that every operation on the store raises StateUnavailable."""
    for work in (objects.put(b"new", PNG), objects.get(name), anext(objects.read(name, 0, 1)), objects.check()):
        began = time.monotonic()
        with pytest.raises(StateUnavailable):
            await work
        assert time.monotonic() - began < within_s


async def test_missing_folder_is_unavailable_until_it_returns(folder: Folder, database: Database) -> None:
    name = (await folder.objects.put(b"x", PNG)).name
    away = folder.path.rename(folder.path.with_name("away"))
    await check_unavailable(folder.objects, name, 30)
    assert not folder.path.exists(), "nothing is written beside it"
    folder.path.write_bytes(b"not a folder")
    await check_unavailable(folder.objects, name, 30)
    folder.path.unlink()
    await age(database)
    with pytest.raises(StateUnavailable):
        await folder.objects.delete_unused(DAY)
    away.rename(folder.path)
    assert await folder.objects.get(name) == b"x"
    assert await folder.objects.get((await folder.objects.put(b"new", PNG)).name) == b"new"


async def test_unresponsive_store_times_out(s3: S3Server, database: Database) -> None:
    objects = Objects(Settings(objects=s3.new_store(timeout_s=1)), database)
    name = (await objects.put(b"x", PNG)).name
    s3.freeze()
    try:
        await check_unavailable(objects, name, 30)
        await age(database)
        with pytest.raises(StateUnavailable):
            await objects.delete_unused(DAY)
    finally:
        s3.thaw()
    assert name in await rows(database)
    async with asyncio.timeout(60):
        while True:  # the store may still execute an earlier deletion, and have no time for an answer within a second
            with contextlib.suppress(NotFound, StateUnavailable):
                await objects.put(b"x", PNG)
                assert await objects.get(name) == b"x"
                break


async def test_stopped_server_is_unavailable_until_it_returns(database: Database) -> None:
    with S3Server.started() as server:
        store = server.new_store(timeout_s=2)
        bucket = str(store.url).split("/")[2]
        objects = Objects(Settings(objects=store), database)
        name = (await objects.put(b"x", PNG)).name
        server.stop()
        await check_unavailable(objects, name, 30)
        server.start()
        await check_unavailable(objects, name, 30)  # the bucket does not exist
        server.make_bucket(bucket)
        await objects.check()
        assert await objects.get((await objects.put(b"x", PNG)).name) == b"x"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    if os.getuid() != 0 or subprocess.run(mounting, capture_output=True).returncode:
        pytest.skip("may not mount a disk")
    yield path
    subprocess.run(["umount", str(path)], check=True)


async def test_full_disk_raises_out_of_space(small_disk: Path, database: Database) -> None:
    folder = Folder(small_disk, Objects(Settings(objects=ObjectsSettings(url=small_disk.as_uri())), database))
    kept = await folder.objects.put(os.urandom(600_000), PNG)
    for _ in range(2):
        with pytest.raises(OutOfSpace):
            await folder.objects.put(os.urandom(600_000), PNG)
    assert folder.files() == [kept.name]
    assert shutil.disk_usage(small_disk).used < 700_000
    await age(database)
    assert await folder.objects.delete_unused(DAY) == 3, "and the rows of what was never written"
    assert folder.files() == []
    await folder.objects.put(os.urandom(600_000), PNG)


@pytest.mark.parametrize(
    "url",
    ["nowhere", "file:relative", "file://host/folder", "memory:///", "https://bucket", "ftp://x", "s3://[", "/folder"],
)
async def test_invalid_store_urls_are_refused(url: str, database: Database) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Objects(Settings(objects=ObjectsSettings(url=url)), database)
    assert caught.value.field == "objects.url"


@pytest.mark.parametrize("options", [{"nonsense": SECRET}, {"allow_http": SECRET}, {"request_payer": SECRET}])
async def test_invalid_options_are_refused_without_echo(options: dict[str, str], database: Database) -> None:
    secret = {name: SecretStr(value) for name, value in options.items()}
    with pytest.raises(InvalidRequest) as caught:
        Objects(Settings(objects=ObjectsSettings(url="s3://bucket", options=secret)), database)
    assert SECRET not in str(caught.value)


async def test_uncreatable_folder_is_refused(tmp_path: Path, database: Database) -> None:
    (tmp_path / "file").write_bytes(b"")
    url = (tmp_path / "file" / "objects").as_uri()
    with pytest.raises(InvalidRequest, match="no store"):
        Objects(Settings(objects=ObjectsSettings(url=url)), database)


@pytest.mark.parametrize("arguments", [["settings"], ["settings", "--json"], ["settings", "--markdown"]])
def test_settings_output_masks_secrets(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(f"objects: {{url: s3://bucket, options: {{secret_access_key: {SECRET}}}}}\n")
    monkeypatch.setenv("ATELIER_CONFIG", "")
    monkeypatch.setenv("COLUMNS", "400")
    assert load(site).objects.options["secret_access_key"].get_secret_value() == SECRET
    shown = CliRunner().invoke(
        main.app, [*arguments, "--config", str(site)] if "--markdown" not in arguments else arguments
    )
    assert shown.exit_code == 0
    assert SECRET not in shown.output
