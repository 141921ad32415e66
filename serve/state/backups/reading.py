"""A backup as it is found: all of it is checked before any of it is used."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from serve.state.backups.format import BLOCK, MANIFEST, PIECE_BYTES, BadBackup, Manifest, TablePart, next_member
from serve.state.backups.places import store_errors
from serve.state.backups.rows import from_line

_ROWS_AT_ONCE = 500
_BYTES_AT_ONCE = 4 * 1024 * 1024
_OBJECTS_AT_ONCE = 16
_OBJECT_BYTES_AT_ONCE = 16 * 1024 * 1024
_LONGEST_LINE = 256 * 1024 * 1024
_LARGEST_OBJECT = 1024 * 1024 * 1024


@dataclass(frozen=True)
class Member:
    """Where in the file it is."""

    name: str
    start: int
    bytes: int


@dataclass
class Found:
    """A backup that is what it was. ``tables`` by name."""

    file: IO[bytes]
    manifest: Manifest
    tables: dict[str, Member]
    first_object: int

    def rows(self, table: TablePart) -> Iterator[list[dict[str, Any]]]:
        """Some at a time. Raises BadBackup for rows that their checksum fits and that are none all the same."""
        self.file.seek(self.tables[table.name].start)
        some: list[dict[str, Any]] = []
        left, held = table.bytes, 0
        while left:
            line = self.file.readline(min(left, _LONGEST_LINE))
            if not line.endswith(b"\n"):
                raise BadBackup(f"it has a row of {table.name} without an end")
            some.append(from_line(table.columns, line))
            left, held = left - len(line), held + len(line)
            if len(some) == _ROWS_AT_ONCE or held > _BYTES_AT_ONCE:
                yield some
                some, held = [], 0
        if some:
            yield some

    def objects(self) -> Iterator[list[tuple[str, bytes]]]:
        """Some at a time, by their names."""
        self.file.seek(self.first_object)
        some: list[tuple[str, bytes]] = []
        held = 0
        for _ in range(self.manifest.objects.count):
            member = _next(self.file)
            some.append((member.name.removeprefix("objects/"), self.file.read(member.bytes)))
            self.file.seek(-member.bytes % BLOCK, os.SEEK_CUR)
            held += member.bytes
            if len(some) == _OBJECTS_AT_ONCE or held > _OBJECT_BYTES_AT_ONCE:
                yield some
                some, held = [], 0
        if some:
            yield some


def check(file: IO[bytes], seen: Callable[[int], None]) -> Found:
    """Reads ``file`` from its start to its end; ``seen`` is told how far. For a thread.

    Raises BadBackup.
    """
    with store_errors():
        return _Checking(file, seen).run()


@dataclass
class _Checking:
    file: IO[bytes]
    seen: Callable[[int], None]
    tables: dict[str, Member] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    names: Any = field(default_factory=hashlib.sha256)
    first_object: int = 0
    objects: int = 0
    object_bytes: int = 0

    def run(self) -> Found:
        while (member := _next(self.file)).name != MANIFEST:
            if member.name.startswith("tables/"):
                self._table(member)
            else:
                self._object(member)
        manifest = Manifest.of(b"".join(self._pieces(member)))
        if next_member(self.file) is not None:
            raise BadBackup("it goes on behind its manifest")
        self._compare(manifest)
        return Found(self.file, manifest, self.tables, self.first_object)

    def _pieces(self, member: Member) -> Iterator[bytes]:
        left = member.bytes
        while left:
            piece = self.file.read(min(left, PIECE_BYTES))
            if not piece:
                raise BadBackup("it is cut short")
            left -= len(piece)
            yield piece
        if self.file.read(-member.bytes % BLOCK).strip(b"\0"):
            raise BadBackup("it has something between its members")
        self.seen(self.file.tell())

    def _table(self, member: Member) -> None:
        name = member.name.removeprefix("tables/").removesuffix(".jsonl")
        if self.objects or name in self.tables:
            raise BadBackup("its tables are not in order")
        digest, rows = hashlib.sha256(), 0
        for piece in self._pieces(member):
            digest.update(piece)
            rows += piece.count(b"\n")
        self.tables[name], self.digests[name], self.rows[name] = member, digest.hexdigest(), rows

    def _object(self, member: Member) -> None:
        name = member.name.removeprefix("objects/")
        if member.bytes > _LARGEST_OBJECT:
            raise BadBackup(f"it has an object of more than {_LARGEST_OBJECT} bytes")
        digest = hashlib.sha256()
        for piece in self._pieces(member):
            digest.update(piece)
        if digest.hexdigest() != name.partition(".")[0]:
            raise BadBackup(f"its object {name} is damaged")
        self.first_object = self.first_object or member.start - BLOCK
        self.names.update(f"{name}\n".encode())
        self.objects += 1
        self.object_bytes += member.bytes

    def _compare(self, manifest: Manifest) -> None:
        """What is there with what has to be."""
        if list(self.tables) != [table.name for table in manifest.tables]:
            raise BadBackup("it has other tables than it should")
        for table in manifest.tables:
            there = (self.tables[table.name].bytes, self.rows[table.name], self.digests[table.name])
            if there != (table.bytes, table.rows, table.sha256):
                raise BadBackup(f"its table {table.name} is damaged")
        part = manifest.objects
        if (self.objects, self.object_bytes, self.names.hexdigest()) != (part.count, part.bytes, part.sha256):
            raise BadBackup("it has other objects than it should")


def _next(file: IO[bytes]) -> Member:
    found = next_member(file)
    if found is None:
        raise BadBackup("it has no manifest: its making was cut short")
    return Member(found[0], file.tell(), found[1])


async def checked(file: IO[bytes], seen: Callable[[int], None]) -> Found:
    """As ``check``, off the event loop."""
    return await asyncio.to_thread(check, file, seen)
