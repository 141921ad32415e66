"""Restores a backup: all of it is verified first, the database changes in one transaction, then objects are stored."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import IO

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import AtelierError, Conflict
from serve.jobs.worker.lease_reaper import requeue
from serve.settings import Settings
from serve.state import tables
from serve.state.backups.format import BadBackup, ProgressCallback, no_progress
from serve.state.backups.reading import VerifiedBackup, insert_rows, verify
from serve.state.backups.storage import open_backup
from serve.state.database import Database, database_url
from serve.state.migrate import lock_schema, migrate, revisions, upgrade
from serve.state.objects.names import EXTENSIONS
from serve.state.objects.objects import Objects

_MEDIA_TYPES = {extension: media_type for media_type, extension in EXTENSIONS.items()}
_VERSION = sa.Table("alembic_version", sa.MetaData())
_PREVIOUS_OBJECTS = sa.Table(
    "kept_objects",
    sa.MetaData(),
    *(sa.Column(column.name, column.type) for column in tables.objects.columns),
    prefixes=["TEMPORARY"],
)
"""Object rows of the site before the restore: unused objects are deleted later, so they must stay known."""


@dataclass(frozen=True)
class Restored:
    """``missing`` objects were missing when the backup was made."""

    created_at: datetime
    rows: int
    objects: int
    missing: int


async def restore(
    settings: Settings, source: str, force: bool = False, report: ProgressCallback = no_progress
) -> Restored:
    """Replaces the content of the site of ``settings`` with the backup at the path or URL ``source``; its stack must be
    stopped.

    Raises InvalidRequest naming ``source``, NotFound, BadBackup, and Conflict for a database with generations unless
    ``force`` is given: then nothing was changed. Raises StateUnavailable and OutOfSpace.
    """
    async with open_backup(source, settings) as file:
        try:
            checked = await _restore(settings, file, force, report)
        except BadBackup as error:
            raise BadBackup(f"{error.message}; nothing was changed", "source") from error
    rows = sum(table.rows for table in checked.manifest.tables)
    objects = checked.manifest.objects
    return Restored(checked.manifest.created_at, rows, objects.count, objects.missing)


async def _restore(settings: Settings, file: IO[bytes], force: bool, report: ProgressCallback) -> VerifiedBackup:
    checked = await _check(file, report)
    database = Database(database_url(settings), settings.database)
    try:
        await migrate(database)
        await _replace(database, settings, checked, force, report)
        await _put_objects(Objects(settings, database), checked, report)
        return checked
    finally:
        await database.close()


async def _check(file: IO[bytes], report: ProgressCallback) -> VerifiedBackup:
    """Raises BadBackup."""
    loop = asyncio.get_running_loop()
    total = await asyncio.to_thread(file.seek, 0, 2)
    await asyncio.to_thread(file.seek, 0)

    def on_progress(done: int) -> None:
        loop.call_soon_threadsafe(report, "checking", done, total)

    checked = await asyncio.to_thread(verify, file, on_progress)
    if checked.manifest.revision not in revisions():
        raise BadBackup(f"it is of a newer Atelier (revision {checked.manifest.revision}); update this one")
    return checked


async def _replace(
    database: Database, settings: Settings, checked: VerifiedBackup, force: bool, report: ProgressCallback
) -> None:
    """Replaces all rows, in one transaction."""
    async with database.write() as connection:
        await lock_schema(database, connection)
        existing = await connection.scalar(sa.select(sa.func.count()).select_from(tables.generations))
        if existing and not force:
            raise Conflict(f"the database has {existing} generations; --force replaces them")
        await connection.run_sync(_empty, checked.manifest.revision)
        await insert_rows(connection, checked, report)
        await connection.run_sync(upgrade, "head")
        await connection.run_sync(_keep_previous_objects)
        await _release_workers(connection, settings)


def _empty(connection: sa.Connection, revision: str) -> None:
    """Leaves the tables of ``revision`` without rows."""
    _PREVIOUS_OBJECTS.create(connection)
    connection.execute(
        _PREVIOUS_OBJECTS.insert().from_select(_PREVIOUS_OBJECTS.columns.keys(), sa.select(tables.objects))
    )
    tables.metadata.drop_all(connection)
    _VERSION.drop(connection)
    upgrade(connection, revision)


def _keep_previous_objects(connection: sa.Connection) -> None:
    o = tables.objects
    others = sa.select(_PREVIOUS_OBJECTS).where(~sa.exists().where(o.c.name == _PREVIOUS_OBJECTS.c.name))
    connection.execute(o.insert().from_select(_PREVIOUS_OBJECTS.columns.keys(), others))
    _PREVIOUS_OBJECTS.drop(connection)


async def _release_workers(connection: AsyncConnection, settings: Settings) -> None:
    """The workers of the backup no longer exist: requeue their jobs, release their webhooks."""
    await requeue(connection, [], None, settings.jobs.max_failures)
    await connection.execute(sa.update(tables.deliveries).values(worker_id=None))


async def _put_objects(objects: Objects, checked: VerifiedBackup, report: ProgressCallback) -> None:
    done, total = 0, checked.manifest.objects.count
    batches = checked.objects()
    try:
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            await objects.put_all([(data, _MEDIA_TYPES.get(name.rpartition(".")[2], "")) for name, data in batch])
            done += len(batch)
            report("objects", done, total)
    except AtelierError as error:
        message = f"{error.message}; all rows and {done} of {total} objects are back: do it again with --force"
        raise type(error)(message, error.field) from error
