"""Installs engines of another folder, such as those of a release or newly trained ones, into a model repository."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import filecmp
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from serve.engines.triton.manifests import CONFIG, MANIFEST, check_files, checksums, manifest_path, version_numbers
from serve.errors import Conflict, NotFound

_LOCAL_FILES = (MANIFEST, "profile.json")
"""Files beside an engine's versions that may differ: the first version's manifest and local measurements."""
_STAGING_PREFIX, _STAGING_TTL_S = ".added-", 24 * 3600
_LOCK_TIMEOUT_S, _LOCK_POLL_S = 600.0, 0.1
"""Engines may be large, and the disk of a cluster slow."""
_EXISTS_ERRORS = (errno.ENOTEMPTY, errno.EEXIST)


def install_engines(source: Path, repository: Path, report: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """Install every version that ``repository`` lacks; yields (engine, version). Existing files are never changed.

    Versions with equal checksums are the same. A different one gets the next number and serves nothing until it is
    selected. ``report`` receives a message about each remaining difference.

    Raises NotFound if ``source`` has no engine, Conflict for files that do not match their manifest, OSError.
    """
    engines = sorted(path.parent for path in source.glob(f"[!.]*/{CONFIG}"))
    if not engines:
        raise NotFound(f"there is no engine in {source}", "folder")
    repository.mkdir(parents=True, exist_ok=True)
    with _lock(repository):
        _remove_stale_staging(repository)
        for engine in engines:
            for version in version_numbers(engine):
                check_files(engine, version)
            yield from _install(engine, repository / engine.name, report)


@contextlib.contextmanager
def _lock(repository: Path) -> Iterator[None]:
    """Hold the repository's lock: concurrent installers, such as pods with one volume, run in turn. Raises Conflict."""
    folder, deadline = os.open(repository, os.O_RDONLY), time.monotonic() + _LOCK_TIMEOUT_S
    try:
        while not _try_lock(folder):
            if time.monotonic() >= deadline:
                raise Conflict(f"others add to {repository} and do not come to an end; try again")
            time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(folder)


def _try_lock(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems cannot lock a folder: `_move_in` detects the race
        return True
    return True


def _remove_stale_staging(repository: Path) -> None:
    """Remove staging folders left by a killed installer."""
    for left in repository.glob(f"{_STAGING_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # removed concurrently
            if time.time() - left.stat().st_mtime > _STAGING_TTL_S:
                shutil.rmtree(left)


def _install(engine: Path, there: Path, report: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    if not (there / CONFIG).is_file() and _move_in(engine, there):
        yield from ((engine.name, version) for version in version_numbers(engine))
    elif (there / CONFIG).is_file():
        yield from _install_versions(engine, there, report)
    else:
        report(f"{there} has no {CONFIG}, and stays as it is: once it is taken away, the engine is added anew")


def _install_versions(engine: Path, there: Path, report: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    added = False
    for version in version_numbers(engine):
        if (same := _find_equal_version(there, checksums(engine, version))) is not None:
            try:
                check_files(there, same)
            except Conflict as error:
                report(str(error))
            continue
        number = int(next(reversed(version_numbers(there)), "0")) + 1
        while not _move_in(engine / version, there / str(number), manifest_path(engine, version)):
            number += 1
        yield engine.name, str(number)
        added = True
    if added:
        for name in _differing_files(engine, there):
            report(f"{engine.name}/{name} stays, and is not the one that the new version came with")


def _find_equal_version(engine: Path, sums: dict[str, str] | None) -> str | None:
    """The version with the checksums ``sums``."""
    return next((version for version in version_numbers(engine) if checksums(engine, version) == sums), None)


def _differing_files(engine: Path, there: Path) -> list[str]:
    names = sorted(path.name for path in engine.iterdir() if path.is_file() and path.name not in _LOCAL_FILES)
    _, others, missing = filecmp.cmpfiles(engine, there, names, shallow=False)
    return others + missing


def _move_in(folder: Path, target: Path, manifest: Path | None = None) -> bool:
    """Copy beside the target and rename, so that readers see all or nothing. False if the target is not empty."""
    if target.is_dir() and any(target.iterdir()):
        return False
    repository = target.parent if (folder / CONFIG).is_file() else target.parents[1]
    with tempfile.TemporaryDirectory(dir=repository, prefix=_STAGING_PREFIX) as beside:
        staged = Path(shutil.copytree(folder, Path(beside) / "staged"))
        if manifest is not None:
            shutil.copy(manifest, staged / MANIFEST)
        try:
            staged.rename(target)
        except OSError as error:
            if error.errno in _EXISTS_ERRORS:
                return False
            raise
    return True
