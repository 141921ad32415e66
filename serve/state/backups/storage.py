"""Where backups are stored: a folder, a file, or an object store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore

from serve.errors import InvalidRequest, NotFound, OutOfSpace, StateUnavailable, rename_fields
from serve.settings import ObjectsSettings, Settings
from serve.state.objects.objects import FULL_MESSAGES
from serve.state.objects.stores import open_store
from serve.state.tables import utc_now

SUFFIX = ".tar"
_STAMP = "%Y%m%dT%H%M%SZ"
_SCHEDULED = re.compile(r"atelier-scheduled-(\d{8}T\d{6}Z)\.tar", re.ASCII)
_PART_BYTES = 16 * 1024 * 1024
"""Of an upload: stores accept at most 10,000 parts."""
_CONCURRENT_PARTS = 2


def new_name(scheduled: bool) -> str:
    """Such as ``atelier-20261122T003055Z.tar``. Scheduled ones have names of their own; only those are deleted by the
    schedule."""
    return f"atelier-{'scheduled-' if scheduled else ''}{utc_now().strftime(_STAMP)}{SUFFIX}"


@dataclass(frozen=True)
class BackupLocation:
    """One file in a store."""

    store: ObjectStore
    name: str
    display_name: str
    """For messages."""

    @classmethod
    def parse(cls, target: str, settings: Settings, scheduled: bool = False) -> BackupLocation:
        """``target`` is a path or URL: a file if it ends in ``.tar``, else a folder, in which a new name is chosen.

        Raises InvalidRequest naming ``target``.
        """
        folder, name = _split(target)
        name = name or new_name(scheduled)
        return cls(_store(folder, settings), name, f"{_display_folder(folder)}/{name}")

    async def put(self, pieces: AsyncIterator[bytes]) -> None:
        """All or nothing: until the last piece is written the file has no name.

        Raises what ``pieces`` raises, InvalidRequest when the file exists, OutOfSpace, StateUnavailable.
        """
        if await self._exists():
            raise InvalidRequest(f"{self.display_name} is there already; name another file", "target")
        limits: Any = {"chunk_size": _PART_BYTES, "max_concurrency": _CONCURRENT_PARTS}
        try:
            with map_storage_errors():
                await obstore.put_async(self.store, self.name, pieces, **limits)
                await asyncio.to_thread(self._sync)
        except NotFound as error:
            raise StateUnavailable(f"the place of {self.display_name} is not there") from error

    async def _exists(self) -> bool:
        try:
            with map_storage_errors():
                await obstore.head_async(self.store, self.name)
        except NotFound:
            return False
        return True

    def _sync(self) -> None:
        """Flushes a local file and its directory entry to disk."""
        if isinstance(self.store, LocalStore):
            folder = Path(str(self.store.prefix))
            for path in (folder / self.name, folder):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)


async def delete_old(folder: str, settings: Settings, keep: timedelta) -> list[str]:
    """Deletes scheduled backups older than ``keep``, by the times in their names, and nothing else; returns their
    names.

    Raises StateUnavailable.
    """
    store = _store(folder, settings)
    deleted = []
    with map_storage_errors():
        async for found in obstore.list(store):
            for name in [entry["path"] for entry in found]:
                made_at = _created_at(name)
                if made_at is not None and made_at < utc_now() - keep:
                    await obstore.delete_async(store, name)
                    deleted.append(name)
    return deleted


def _created_at(name: str) -> datetime | None:
    """None for a file that is no scheduled backup."""
    match = _SCHEDULED.fullmatch(name)
    with contextlib.suppress(ValueError):
        return datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC) if match else None
    return None


@contextlib.asynccontextmanager
async def open_backup(source: str, settings: Settings) -> AsyncIterator[IO[bytes]]:
    """The backup at ``source``, a path or URL, as a seekable file.

    Raises InvalidRequest naming ``source``, NotFound, OutOfSpace, StateUnavailable.
    """
    if "://" not in source:
        try:
            file = await asyncio.to_thread(Path(source).open, "rb")
        except OSError as error:
            raise InvalidRequest(f"cannot be read: {error.strerror or error}", "source") from None
        with file:
            yield file
        return
    folder, name = _split(source)
    if name is None:
        raise InvalidRequest("must name a backup, a file that ends in .tar", "source")
    store = _store(folder, settings, "source")
    with temporary_file(settings) as copy:
        with map_storage_errors():
            found = await obstore.get_async(store, name)
            async for piece in found.stream():
                await asyncio.to_thread(copy.write, bytes(piece))
            await asyncio.to_thread(copy.seek, 0)
        yield copy


@contextlib.contextmanager
def temporary_file(settings: Settings) -> Iterator[IO[bytes]]:
    """An unnamed file, which disappears with the process."""
    with map_storage_errors():
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=settings.state_dir)  # noqa: SIM115
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):  # write errors were already reported
            file.close()


def _split(target: str) -> tuple[str, str | None]:
    """The URL of a folder, and the name of a file in it, if given."""
    url = target if "://" in target else Path(target).absolute().as_uri()
    folder, _, name = url.rstrip("/").rpartition("/")
    return (folder, name) if name.endswith(SUFFIX) else (url.rstrip("/"), None)


def _display_folder(folder: str) -> str:
    return unquote(folder.removeprefix("file://")) if folder.startswith("file://") else folder


def _store(url: str, settings: Settings, field: str = "target") -> ObjectStore:
    options = settings.backup.options
    with rename_fields({"objects.url": field}):
        return open_store(
            ObjectsSettings(url=url, options=options, timeout_s=settings.objects.timeout_s), settings.state_dir
        )


@contextlib.contextmanager
def map_storage_errors() -> Iterator[None]:
    """Maps errors of stores and disks."""
    try:
        yield
    except (FileNotFoundError, NotFoundError):
        raise NotFound("there is no such backup") from None
    except (BaseError, OSError) as error:
        if any(text in str(error) for text in FULL_MESSAGES):
            raise OutOfSpace("there is no space left for this; make room, or name another place") from error
        raise StateUnavailable(f"the place of the backups does not answer ({type(error).__name__})") from error
