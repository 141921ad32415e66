"""The file format of a backup: the members of a tar archive and the manifest. Content is untrusted when read."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Callable
from datetime import datetime
from typing import IO, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve.errors import InvalidRequest

ProgressCallback = Callable[[str, int, int | None], None]
"""Called in the event loop with the current step, how much is done, and of how much if known."""


def no_progress(what: str, done: int, total: int | None) -> None: ...


FORMAT = 1
BLOCK = 512
PIECE_BYTES = 1024 * 1024
END_OF_ARCHIVE = bytes(2 * BLOCK)
MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 1024 * 1024
_MEMBER = re.compile(r"tables/[a-z_]{1,40}\.jsonl|objects/[0-9a-f]{64}\.[a-z]{3,4}|manifest\.json", re.ASCII)

Kind = Literal["text", "whole", "number", "flag", "time", "json", "bytes"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, strict=True)]


class BadBackup(InvalidRequest):
    """A file that is no backup, or one that was damaged or changed."""

    status = 422
    title = "Backup cannot be used"


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TablePart(_Document):
    """``columns`` in the order of a row's values."""

    name: Name
    columns: dict[Name, Kind]
    rows: Count
    bytes: Count
    sha256: Digest


class ObjectsPart(_Document):
    """``sha256`` is of their names, one a line; a name is the SHA-256 of its content. ``missing`` ones were absent."""

    count: Count
    bytes: Count
    missing: Count
    sha256: Digest


class Manifest(_Document):
    """``sha256`` is of all other fields."""

    format: Literal[1]
    revision: Annotated[str, Field(pattern=r"^[0-9a-z_]{1,40}$")]
    created_at: datetime
    tables: tuple[TablePart, ...]
    objects: ObjectsPart
    sha256: Digest = "0" * 64

    def signed(self) -> Manifest:
        """With its checksum."""
        return self.model_copy(update={"sha256": self._digest()})

    def _digest(self) -> str:
        return hashlib.sha256(self.model_dump_json(exclude={"sha256"}).encode()).hexdigest()

    def to_bytes(self) -> bytes:
        return self.model_dump_json(indent=1).encode()

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Raises BadBackup."""
        try:
            manifest = cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            newer = "; a newer Atelier may have written it" if where == "format" else ""
            raise BadBackup(f"its manifest cannot be read: {where or 'it'}: {first['msg']}{newer}") from None
        if manifest.sha256 != manifest._digest():
            raise BadBackup("its manifest was changed")
        return manifest


def header(name: str, size: int, mtime: int) -> bytes:
    """The tar header of a member of ``size`` bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, mtime, 0o600
    return member.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """The padding after a member."""
    return bytes(-size % BLOCK)


def next_member(file: IO[bytes]) -> tuple[str, int] | None:
    """The name and size of the member that begins here; None at the end of the archive. Raises BadBackup."""
    block = file.read(BLOCK)
    if block == bytes(BLOCK):
        if file.read() != bytes(BLOCK):
            raise BadBackup("it does not end where its archive ends")
        return None
    try:
        member = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        raise BadBackup("it is cut short, or no backup" if len(block) < BLOCK else "it is no backup") from None
    if member.type != tarfile.REGTYPE or not _MEMBER.fullmatch(member.name):
        raise BadBackup("it has a member that no backup has")
    if member.size < 0 or (member.name == MANIFEST and member.size > _MAX_MANIFEST_BYTES):
        raise BadBackup("it has a member of a size that cannot be")
    return member.name, member.size
