"""Truncated, damaged and forged backups are refused, and change nothing."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from gallery_rows import generation, insert
from populated_site import content, fill

from serve.jobs.backup_restore import restore
from serve.settings import Settings
from serve.state import State, tables
from serve.state.backups.format import END_OF_ARCHIVE, BadBackup, Manifest, header, padding
from serve.state.backups.reading import verify
from serve.state.backups.writing import backup

pytestmark = pytest.mark.slow

Parts = list[tuple[str, bytes]]
ONE_DATABASE = pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True)
"""For archives that are refused before the database is opened."""


@pytest.fixture(scope="module")
def valid_backup(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A valid backup."""
    folder = tmp_path_factory.mktemp("whole")

    async def write() -> None:
        source = await State.open(Settings(state_dir=folder / "source"))
        await fill(source)
        await backup(source, str(folder / "whole.tar"))
        await source.close()

    with ThreadPoolExecutor() as executor:  # the calling thread may run an event loop
        executor.submit(asyncio.run, write()).result()
    return (folder / "whole.tar").read_bytes()


def checked(data: bytes) -> Manifest:
    return verify(io.BytesIO(data), lambda _: None).manifest


def parts_of(data: bytes) -> Parts:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [(member.name, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]


def tar_of(parts: Parts) -> bytes:
    return b"".join(header(name, len(data), 0) + data + padding(len(data)) for name, data in parts) + END_OF_ARCHIVE


def signed(parts: Parts, change: Callable[[dict[str, Any]], None] = lambda _: None) -> bytes:
    """An archive of ``parts`` whose manifest has correct checksums."""
    manifest = json.loads(dict(parts)["manifest.json"])
    table_entries = {f"tables/{table['name']}.jsonl": table for table in manifest["tables"]}
    names, count, total = hashlib.sha256(), 0, 0
    for name, data in parts:
        if name in table_entries:
            lines = data.count(b"\n")
            table_entries[name] |= {"rows": lines, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        elif name.startswith("objects/"):
            names.update(f"{name.removeprefix('objects/')}\n".encode())
            count, total = count + 1, total + len(data)
    manifest["objects"] |= {"count": count, "bytes": total, "sha256": names.hexdigest()}
    change(manifest)
    text = Manifest.model_validate(manifest).signed().to_bytes()
    return tar_of([(name, text if name == "manifest.json" else data) for name, data in parts])


def with_row(parts: Parts, table: str, **values: Any) -> Parts:
    """``parts`` with ``values`` in the first row of ``table``."""
    manifest = json.loads(dict(parts)["manifest.json"])
    columns = list(
        next(changed_parts for changed_parts in manifest["tables"] if changed_parts["name"] == table)["columns"]
    )
    changed_parts = []
    for name, data in parts:
        if name == f"tables/{table}.jsonl":
            first, *rest = data.splitlines(keepends=True)
            row = json.loads(first)
            for column, value in values.items():
                row[columns.index(column)] = value
            data = b"".join([json.dumps(row).encode() + b"\n", *rest])
        changed_parts.append((name, data))
    return changed_parts


async def check_refused(state: State, data: bytes, tmp_path: Path, reason: str) -> None:
    """Restoring ``data`` is refused, and leaves a site with content unchanged."""
    async with state.database.write() as connection:
        await connection.execute(sa.delete(tables.generations))
    await insert(state.database, tables.generations, [generation(7)])
    before = await content(state.database)
    (tmp_path / "bad.tar").write_bytes(data)
    with pytest.raises(BadBackup, match=reason) as caught:
        await restore(state.settings, str(tmp_path / "bad.tar"), force=True)
    assert (caught.value.field, caught.value.status) == ("source", 422)
    assert await content(state.database) == before
    assert not list((state.settings.state_dir / "objects").glob("??/*"))


async def test_helpers_build_valid_backups(valid_backup: bytes, tmp_path: Path) -> None:
    assert checked(signed(parts_of(valid_backup))) == checked(valid_backup)


async def test_truncated_backups_are_refused(valid_backup: bytes) -> None:
    for length in {*range(0, len(valid_backup), 1021), *range(len(valid_backup) - 2000, len(valid_backup), 73)}:
        with pytest.raises(BadBackup):
            checked(valid_backup[:length])


async def test_flipped_bits_are_detected(valid_backup: bytes) -> None:
    """A single bit."""
    rng = random.Random(18)
    with tarfile.open(fileobj=io.BytesIO(valid_backup)) as archive:
        parts = archive.getmembers()
    places = [rng.randrange(len(valid_backup)) for _ in range(300)]
    places += [part.offset + rng.randrange(345) for part in parts]  # in the meaningful bytes of headers
    places += [part.offset_data + rng.randrange(part.size) for part in parts if part.size]
    for place in places:
        damaged = bytearray(valid_backup)
        damaged[place] ^= 1 << rng.randrange(8)
        with pytest.raises(BadBackup):
            checked(bytes(damaged))


async def test_missing_and_additional_members_are_refused(state: State, valid_backup: bytes, tmp_path: Path) -> None:
    parts = parts_of(valid_backup)
    picture = next(part for part in parts if part[0].startswith("objects/"))
    stranger = (f"objects/{hashlib.sha256(b'x').hexdigest()}.png", b"x")
    wrong = {
        "no manifest": parts[:-1],
        "a table less": parts[1:],
        "a table more": [("tables/more.jsonl", b""), *parts],
        "a table twice": [parts[0], *parts],
        "tables in another order": [parts[1], parts[0], *parts[2:]],
        "a picture less": [part for part in parts if part != picture],
        "a picture more": [*parts[:-1], stranger, parts[-1]],
        "a picture twice": [*parts[:-1], picture, parts[-1]],
        "something behind it": [*parts, picture],
        "a table behind pictures": [*parts[:-1], ("tables/more.jsonl", b""), parts[-1]],
        "another picture under the name": [(name, b"y" if name == picture[0] else data) for name, data in parts],
        "nothing": [],
    }
    for data in (*map(tar_of, wrong.values()), valid_backup + b"more"):
        with pytest.raises(BadBackup):
            checked(data)
    await check_refused(state, tar_of(wrong["a picture less"]), tmp_path, "other objects")


@pytest.mark.parametrize(
    "name",
    [
        "../outside", "/etc/passwd", "objects/../../outside.png", "objects/short.png", f"objects/{'A' * 64}.png",
        f"objects/{'0' * 64}.png/../x", "tables/../x.jsonl", "tables/Ünïcode.jsonl", "objects/", "", "manifest.json ",
    ],
)  # fmt: skip
@ONE_DATABASE
async def test_member_names_outside_the_layout_are_refused(
    state: State, valid_backup: bytes, tmp_path: Path, name: str
) -> None:
    await check_refused(state, tar_of([(name, b"x"), *parts_of(valid_backup)]), tmp_path, "no backup")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
@ONE_DATABASE
async def test_non_file_members_are_refused(state: State, valid_backup: bytes, tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo(parts_of(valid_backup)[0][0])
    member.type, member.linkname = kind, "/etc/passwd"
    await check_refused(state, member.tobuf(tarfile.GNU_FORMAT) + valid_backup, tmp_path, "no backup")


async def test_impossible_member_sizes_are_refused(valid_backup: bytes) -> None:
    for size in (2**62, 10**9, 8**11):
        with pytest.raises(BadBackup):
            checked(header(parts_of(valid_backup)[0][0], size, 0) + valid_backup[512:])
    with pytest.raises(BadBackup):
        checked(header("manifest.json", 2**40, 0) + valid_backup)


async def test_invalid_rows_are_refused(state: State, valid_backup: bytes, tmp_path: Path) -> None:
    """Even with correct checksums, the database stays unchanged."""
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("results", {"generation_id": "nobody"}, "contradict"),
        ("results", {"id": None}, "contradict"),
        ("results", {"created_at": "yesterday"}, "cannot be read"),
        ("results", {"created_at": "2026-01-01T00:00:00"}, "cannot be read"),
        ("results", {"bytes": "many"}, "cannot be read"),
        ("results", {"bytes": 2**63}, "cannot be read"),
        ("results", {"bytes": True}, "cannot be read"),
        ("results", {"score": "high"}, "cannot be read"),
        ("results", {"object": 5}, "cannot be read"),
        ("generations", {"favorite": 1}, "cannot be read"),
        ("checkpoints", {"data": "!!"}, "cannot be read"),
        ("checkpoints", {"data": ["x"]}, "cannot be read"),
    ]
    for table, values, reason in cases if state.database.is_sqlite else cases[:3]:  # the others are read in vain
        await check_refused(state, signed(with_row(parts_of(valid_backup), table, **values)), tmp_path, reason)


async def test_malformed_lines_are_refused(state: State, valid_backup: bytes, tmp_path: Path) -> None:
    for line in (b"{}\n", b"[1]\n", b"[" * 100_000 + b"\n", b"\xff\n", b"null\n", b"no end"):
        parts = [(name, line if name == "tables/users.jsonl" else data) for name, data in parts_of(valid_backup)]
        await check_refused(state, signed(parts), tmp_path, "cannot be read|without an end")


def _rename(manifest: dict[str, Any]) -> None:
    manifest["tables"][0]["columns"] = {"nonsense": "text"}


def _other_kind(manifest: dict[str, Any]) -> None:
    columns = manifest["tables"][0]["columns"]
    columns[next(iter(columns))] = "bytes"


def _newer(manifest: dict[str, Any]) -> None:
    manifest["revision"] = "9999"


@pytest.mark.parametrize(
    ("change", "reason"), [(_rename, "its schema has not"), (_other_kind, "its schema has not"), (_newer, "newer")]
)
async def test_foreign_schemas_are_refused(
    state: State, valid_backup: bytes, tmp_path: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    await check_refused(state, signed(parts_of(valid_backup), change), tmp_path, reason)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"format": 2}', b'{"format": 1, "revision": "../x"}',
    ],
)  # fmt: skip
async def test_invalid_manifests_are_refused(valid_backup: bytes, text: bytes) -> None:
    with pytest.raises(BadBackup, match="manifest"):
        checked(tar_of([*parts_of(valid_backup)[:-1], ("manifest.json", text)]))


async def test_unknown_tables_are_refused(state: State, valid_backup: bytes, tmp_path: Path) -> None:
    """Not even one that every SQLite database has."""
    parts = [(name.replace("tables/audit", "tables/sqlite_master"), data) for name, data in parts_of(valid_backup)]

    def rename(manifest: dict[str, Any]) -> None:
        for table in manifest["tables"]:
            table["name"] = table["name"].replace("audit", "sqlite_master")

    await check_refused(state, signed(parts, rename), tmp_path, "its schema has not")
