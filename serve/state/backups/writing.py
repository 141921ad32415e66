"""Making a backup: rows of one moment, then the objects that they name, while the site goes on."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from serve.errors import NotFound
from serve.state import State
from serve.state.backups.format import END, FORMAT, MANIFEST, PIECE_BYTES, Manifest, ObjectsPart, header, padding
from serve.state.backups.places import Place, store_errors
from serve.state.backups.progress import Report, silent
from serve.state.backups.snapshot import Snapshot, take

_OBJECTS_AT_ONCE = 8
_OBJECT_BYTES_AT_ONCE = 32 * 1024 * 1024


@dataclass(frozen=True)
class Backup:
    """One that was made. ``missing`` names objects that rows speak of and that are not there, or not what they were:
    it is whole but for those.
    """

    where: str
    bytes: int
    rows: int
    objects: int
    missing: Sequence[str]


async def backup(state: State, target: str, report: Report = silent, *, scheduled: bool = False) -> Backup:
    """To the file, folder or URL ``target``, which has all of it afterwards, or nothing.

    Raises InvalidRequest naming ``target``, OutOfSpace, StateUnavailable.
    """
    place = await asyncio.to_thread(Place.of, target, state.settings, scheduled)
    with contextlib.ExitStack() as files:
        making = _Making(state, report, files)
        await place.put(making.pieces())
    rows = sum(table.rows for table in making.manifest.tables)
    return Backup(place.shown, making.bytes, rows, making.manifest.objects.count, making.missing)


class _Making:
    """One backup while it is made; ``manifest`` is there at its end."""

    manifest: Manifest

    def __init__(self, state: State, report: Report, files: contextlib.ExitStack) -> None:
        self._state = state
        self._report = report
        self._files = files
        self._mtime = int(time.time())
        self.bytes = 0
        self.missing: list[str] = []

    async def pieces(self) -> AsyncIterator[bytes]:
        """The whole file."""
        async for piece in self._members():
            self.bytes += len(piece)
            yield piece

    async def _members(self) -> AsyncIterator[bytes]:
        rows = await take(self._state, self._report, self._files)
        for table in rows.tables:
            yield header(f"tables/{table.name}.jsonl", table.bytes, self._mtime)
            with store_errors():
                await asyncio.to_thread(table.file.seek, 0)
                while piece := await asyncio.to_thread(table.file.read, PIECE_BYTES):
                    yield piece
            yield padding(table.bytes)
        count, total, names = 0, 0, hashlib.sha256()
        async for name, data in self._objects(rows):
            yield header(f"objects/{name}", len(data), self._mtime)
            for start in range(0, len(data), PIECE_BYTES):
                yield data[start : start + PIECE_BYTES]
            yield padding(len(data))
            names.update(f"{name}\n".encode())
            count, total = count + 1, total + len(data)
        objects = ObjectsPart(count=count, bytes=total, missing=len(self.missing), sha256=names.hexdigest())
        self.manifest = Manifest(
            format=FORMAT,
            revision=rows.revision,
            created_at=rows.created_at,
            tables=tuple(table.part() for table in rows.tables),
            objects=objects,
        ).signed()
        text = self.manifest.to_bytes()
        yield header(MANIFEST, len(text), self._mtime) + text + padding(len(text)) + END

    async def _objects(self, rows: Snapshot) -> AsyncIterator[tuple[str, bytes]]:
        """Every object of the rows that is there and is what its name says."""
        done, total = 0, next(table.rows for table in rows.tables if table.name == "objects")
        for names in _groups(rows.objects()):
            read = await asyncio.gather(*(self._object(name) for name in names))
            for name, data in zip(names, read, strict=True):
                if data is None:
                    self.missing.append(name)
                else:
                    yield name, data
            done += len(names)
            self._report("objects", done, total)

    async def _object(self, name: str) -> bytes | None:
        try:
            data = await self._state.objects.get(name)
        except NotFound:
            return None
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        return data if digest == name.partition(".")[0] else None


def _groups(objects: Iterator[tuple[str, int]]) -> Iterator[list[str]]:
    """Names of objects that may be held at once."""
    names: list[str] = []
    held = 0
    for name, size in objects:
        if names and (len(names) == _OBJECTS_AT_ONCE or held + size > _OBJECT_BYTES_AT_ONCE):
            yield names
            names, held = [], 0
        names.append(name)
        held += size
    if names:
        yield names
