"""Putting a backup back: all of it is checked first, the database changes in one transaction, then come the objects."""

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
from serve.state.backups.format import BadBackup
from serve.state.backups.loading import load
from serve.state.backups.places import opened
from serve.state.backups.progress import Report, silent
from serve.state.backups.reading import Found, check
from serve.state.database import Database, database_url
from serve.state.migrate import lock, migrate, revisions, upgrade
from serve.state.objects import EXTENSIONS, Objects

_MEDIA_TYPES = {extension: media_type for media_type, extension in EXTENSIONS.items()}
_VERSION = sa.Table("alembic_version", sa.MetaData())
_KEPT = sa.Table(
    "kept_objects",
    sa.MetaData(),
    *(sa.Column(column.name, column.type) for column in tables.objects.columns),
    prefixes=["TEMPORARY"],
)
"""What the store has of the site as it was: it goes when it is unused, and for that it must be known."""


@dataclass(frozen=True)
class Restored:
    """``missing`` objects were missing already when the backup was made."""

    created_at: datetime
    rows: int
    objects: int
    missing: int


async def restore(settings: Settings, source: str, force: bool = False, report: Report = silent) -> Restored:
    """What the backup at the path or URL ``source`` has becomes what the site of ``settings`` has; its stack must rest.

    Raises InvalidRequest naming ``source``, NotFound, BadBackup, and Conflict for a database with generations unless
    ``force`` empties it: then nothing was changed. Raises StateUnavailable and OutOfSpace.
    """
    async with opened(source, settings) as file:
        try:
            found = await _put_back(settings, file, force, report)
        except BadBackup as error:
            raise BadBackup(f"{error.message}; nothing was changed", "source") from error
    rows = sum(table.rows for table in found.manifest.tables)
    part = found.manifest.objects
    return Restored(found.manifest.created_at, rows, part.count, part.missing)


async def _put_back(settings: Settings, file: IO[bytes], force: bool, report: Report) -> Found:
    found = await _checked(file, report)
    database = Database(database_url(settings), settings.database)
    try:
        await migrate(database)
        await _replace(database, settings, found, force, report)
        await _put_objects(Objects(settings, database), found, report)
        return found
    finally:
        await database.close()


async def _checked(file: IO[bytes], report: Report) -> Found:
    """Raises BadBackup."""
    loop = asyncio.get_running_loop()
    total = await asyncio.to_thread(file.seek, 0, 2)
    await asyncio.to_thread(file.seek, 0)

    def seen(done: int) -> None:
        loop.call_soon_threadsafe(report, "checking", done, total)

    found = await asyncio.to_thread(check, file, seen)
    if found.manifest.revision not in revisions():
        raise BadBackup(f"it is of a newer Atelier (revision {found.manifest.revision}); update this one")
    return found


async def _replace(database: Database, settings: Settings, found: Found, force: bool, report: Report) -> None:
    """All rows, in one transaction."""
    async with database.write() as connection:
        await lock(database, connection)
        there = await connection.scalar(sa.select(sa.func.count()).select_from(tables.generations))
        if there and not force:
            raise Conflict(f"the database has {there} generations; --force replaces them")
        await connection.run_sync(_empty, found.manifest.revision)
        await load(connection, found, report)
        await connection.run_sync(upgrade, "head")
        await connection.run_sync(_remember_objects)
        await _settle(connection, settings)


def _empty(connection: sa.Connection, revision: str) -> None:
    """Leaves the tables of ``revision`` without rows."""
    _KEPT.create(connection)
    connection.execute(_KEPT.insert().from_select(_KEPT.columns.keys(), sa.select(tables.objects)))
    tables.metadata.drop_all(connection)
    _VERSION.drop(connection)
    upgrade(connection, revision)


def _remember_objects(connection: sa.Connection) -> None:
    o = tables.objects
    others = sa.select(_KEPT).where(~sa.exists().where(o.c.name == _KEPT.c.name))
    connection.execute(o.insert().from_select(_KEPT.columns.keys(), others))
    _KEPT.drop(connection)


async def _settle(connection: AsyncConnection, settings: Settings) -> None:
    """Whoever worked on something is not there any more."""
    await requeue(connection, [], None, settings.jobs.max_failures)
    await connection.execute(sa.update(tables.deliveries).values(worker_id=None))


async def _put_objects(objects: Objects, found: Found, report: Report) -> None:
    done, total = 0, found.manifest.objects.count
    batches = found.objects()
    try:
        while (some := await asyncio.to_thread(next, batches, None)) is not None:
            await objects.put_all([(data, _MEDIA_TYPES.get(name.rpartition(".")[2], "")) for name, data in some])
            done += len(some)
            report("objects", done, total)
    except AtelierError as error:
        told = f"{error.message}; all rows and {done} of {total} objects are back: do it again with --force"
        raise type(error)(told, error.field) from error
