"""Versions of engines in the model repository: their manifests and files, and the view of them that one Triton gets.

Triton serves all of its folder. With its own view, links to the selected versions only, the selection survives a
restart, and versions added to the repository are not served before they are selected.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from serve.errors import Conflict, EngineUnavailable

CONFIG = "config.pbtxt"
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_POLICY = re.compile(r"^\s*version_policy\b", re.MULTILINE)


def is_version_number(version: str) -> bool:
    return _NUMBER.fullmatch(version) is not None


def version_numbers(engine: Path) -> list[str]:
    """The versions in the folder of an engine, lowest first."""
    if not engine.is_dir():
        return []
    return sorted(
        (entry.name for entry in engine.iterdir() if entry.is_dir() and is_version_number(entry.name)), key=int
    )


def write_view(engine: Path, versions: Sequence[str], target: Path) -> None:
    """Make ``target`` show ``versions`` of the folder ``engine``, with a matching version_policy in its config.

    Raises EngineUnavailable for a config that has a version_policy of its own.
    """
    config = (engine / CONFIG).read_text()
    if _POLICY.search(config):
        raise EngineUnavailable(
            f"{engine.name}/{CONFIG} has a version_policy; the stack says which versions are served"
        )
    target.mkdir(parents=True, exist_ok=True)
    shown = [entry for entry in engine.iterdir() if not is_version_number(entry.name) or entry.name in versions]
    wanted = {entry.name: entry for entry in shown if entry.name != CONFIG}
    for link in target.iterdir():
        if link.is_symlink() and link.name not in wanted:
            link.unlink()
    for name, entry in wanted.items():
        if not (target / name).is_symlink():
            (target / name).symlink_to(entry)
    policy = f"\nversion_policy {{ specific {{ versions: [{', '.join(versions)}] }} }}\n" if versions else ""
    # Written beside and renamed: Triton reads either the old or the new file.
    written = target / f".{CONFIG}"
    written.write_text(config + policy)
    shutil.copymode(engine / CONFIG, written)
    os.replace(written, target / CONFIG)


LOGGER = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_READ_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError)
_FILE = re.compile(r'^\s*default_model_filename\s*:\s*"([^"]+)"', re.MULTILINE)
_LIMITS = (("max_relative_error", "largest_limit"), ("relative_rms_error", "limit"))
"""(figure, limit) keys of a manifest's parity section; without them ``max_abs_error`` is compared with ``limit``."""


def version_label(engine: Path, version: str) -> str | None:
    """The version label of ``version`` in the folder ``engine``, from its manifest; None if that is missing or
    unreadable.

    An incomplete or broken manifest does not block the other versions.
    """
    try:
        manifest = _read_manifest(engine, version)
        return None if manifest is None else str(manifest["version"])
    except _READ_ERRORS as error:
        name = f"{engine.name}/{version}".rstrip("/")
        LOGGER.warning("the manifest of engine %s cannot be used (%s)", name, type(error).__name__)
        return None


def check_files(engine: Path, version: str) -> None:
    """Verify the SHA-256 of the files of ``version`` in the folder ``engine``. Reads all of them. Raises Conflict."""
    with _open_manifest(engine, version) as manifest:
        name, folder = f"{engine.name}/{version}", engine / version
        for file, expected in _sums(engine, manifest).items():
            if not (folder / file).is_file():
                raise Conflict(f"{name} lacks {file}, which its manifest names")
            if _sha256(folder / file) != expected:
                raise Conflict(f"{name}: the checksum of {file} is not the manifest's")


def check_manifest(engine: Path, version: str) -> None:
    """Check that the label of ``version`` is unique and that its parity is within its limits. Raises Conflict."""
    with _open_manifest(engine, version) as manifest:
        _check_label(engine, version, str(manifest["version"]))
        _check_parity(f"{engine.name}/{version}", manifest["parity"])


@contextlib.contextmanager
def _open_manifest(engine: Path, version: str) -> Iterator[dict[str, Any]]:
    """Yields the manifest. Any defect of it, also in the block, raises Conflict."""
    name = f"{engine.name}/{version[:20]}"
    if not is_version_number(version) or not (engine / version).is_dir():
        raise Conflict(f"{name} is not in the model repository")
    try:
        manifest = _read_manifest(engine, version)
        if manifest is None:
            raise Conflict(f"{name} has no manifest.json")
        yield manifest
    except _READ_ERRORS as error:
        raise Conflict(f"{name}: its manifest cannot be used ({type(error).__name__})") from error


def manifest_path(engine: Path, version: str) -> Path | None:
    """``VERSION/manifest.json`` in the folder of an engine; for its lowest version, or without one, ``manifest.json``
    beside ``config.pbtxt`` is accepted."""
    paths = [engine / version / MANIFEST]
    if not version or version == next(iter(version_numbers(engine)), version):
        paths.append(engine / MANIFEST)
    return next((path for path in paths if path.is_file()), None)


def checksums(engine: Path, version: str) -> dict[str, str] | None:
    """SHA-256 (hex) by file of ``version``, from its manifest; None if that is unusable."""
    try:
        manifest = _read_manifest(engine, version)
        return None if manifest is None else _sums(engine, manifest)
    except _READ_ERRORS:
        return None


def _read_manifest(engine: Path, version: str) -> dict[str, Any] | None:
    """Raises OSError, ValueError."""
    path = manifest_path(engine, version)
    if path is None:
        return None
    manifest: dict[str, Any] = json.loads(path.read_text())
    return manifest


def _check_label(engine: Path, version: str, label: str) -> None:
    """Labels identify versions in answers and caches, so they must be unique."""
    for other in version_numbers(engine):
        if other != version and version_label(engine, other) == label:
            raise Conflict(f"{engine.name}/{version} calls itself {label!a} in its manifest, and so does {other}")


def _check_parity(name: str, parity: Mapping[str, Any]) -> None:
    limits = [(figure, limit) for figure, limit in _LIMITS if limit in parity and figure in parity]
    for figure, limit in limits or [("max_abs_error", "limit")]:
        found, most = float(parity[figure]), float(parity[limit])
        if not found <= most:
            raise Conflict(f"{name}: its {figure} is {found:g}, and its {limit} {most:g}")


def _sums(engine: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 (hex) by file."""
    if "files" in manifest:
        return {file: str(entry["sha256"]) for file, entry in manifest["files"].items()}
    found = _FILE.search((engine / CONFIG).read_text())
    return {found.group(1) if found else "model.onnx": str(manifest["sha256"])}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
