"""The file format of a backup: the members of a tar archive and the manifest, and rows as JSON lines.

Content is untrusted when read. The manifest records the kind of every column: later schemas need not guess."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve.errors import InvalidRequest
from serve.state.tables import UtcTime

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


_KINDS: Sequence[tuple[type[sa.types.TypeEngine[Any]], Kind]] = (
    (sa.Text, "text"),
    (sa.Boolean, "flag"),
    (sa.Integer, "whole"),  # includes BigInteger
    (sa.Float, "number"),
    (UtcTime, "time"),
    (sa.DateTime, "time"),  # as reflected from a database
    (sa.JSON, "json"),
    (sa.LargeBinary, "bytes"),
)
TYPES: Mapping[Kind, sa.types.TypeEngine[Any]] = {
    "text": sa.Text(),
    "flag": sa.Boolean(),
    "whole": sa.BigInteger(),
    "number": sa.Float(),
    "time": UtcTime(),
    "json": sa.JSON(none_as_null=True),
    "bytes": sa.LargeBinary(),
}
_INT64_LIMIT = 2**63


def kind_of(found: sa.types.TypeEngine[Any]) -> Kind | None:
    """None for a type that no table uses."""
    return next((kind for type_, kind in _KINDS if isinstance(found, type_)), None)


def to_lines(kinds: Sequence[Kind], rows: Iterable[Sequence[Any]]) -> bytes:
    """One JSON array per line, ASCII."""
    writers = [_WRITERS.get(kind) for kind in kinds]
    lines = []
    for row in rows:
        values = [
            value if value is None or write is None else write(value) for value, write in zip(row, writers, strict=True)
        ]
        lines.append(json.dumps(values, separators=(",", ":")) + "\n")
    return "".join(lines).encode()


def from_line(columns: Mapping[str, Kind], line: bytes) -> dict[str, Any]:
    """The inverse of `to_lines`. Raises BadBackup."""
    try:
        values = json.loads(line)
        if not isinstance(values, list):
            raise ValueError
        pairs = zip(columns.items(), values, strict=True)
        return {name: None if value is None else _READERS[kind](value) for (name, kind), value in pairs}
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
        raise BadBackup("it has a row that cannot be read") from None


def _exactly(type_: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not type_:
            raise ValueError
        return value

    return check


def _to_int(value: Any) -> int:
    if type(value) is not int or not -_INT64_LIMIT <= value < _INT64_LIMIT:
        raise ValueError
    return value


def _to_float(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError
    return float(value)


def _to_time(value: str) -> datetime:
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError
    return found.astimezone(UTC)


_WRITERS: Mapping[Kind, Callable[[Any], str]] = {
    "time": lambda value: str(value.isoformat()),
    "bytes": lambda value: base64.b64encode(value).decode(),
}
_READERS: Mapping[Kind, Callable[[Any], Any]] = {
    "text": _exactly(str),
    "flag": _exactly(bool),
    "whole": _to_int,
    "number": _to_float,
    "time": _to_time,
    "json": lambda value: value,
    "bytes": lambda value: base64.b64decode(value, validate=True),
}
