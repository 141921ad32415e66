"""Lays engines of another folder into a model repository: those that come with a release, or were trained anew."""

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

from serve.engines.triton.manifests import MANIFEST, check_files, checksums, manifest_path
from serve.engines.triton.repository_view import CONFIG, numbers
from serve.errors import Conflict, NotFound

_OF_THE_PLACE = (MANIFEST, "profile.json")
"""Beside the versions of an engine, what need not be the same: the first version's, and what was measured there."""
_ASIDE, _LEFT_S = ".added-", 24 * 3600
_TURN_S, _ASK_S = 600.0, 0.1
"""Engines may be large, and the disk of a cluster slow."""
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


def add(source: Path, repository: Path, tell: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """Engine and number of every version that ``repository`` lacked. What is there is never changed.

    A version is the same where its checksums are. Else it gets the next number: nobody is served by it until somebody
    decides so. ``tell`` gets, in words, what stays different.

    Raises NotFound where ``source`` has no engine, Conflict for files that are not what their manifest says, OSError.
    """
    engines = sorted(path.parent for path in source.glob(f"[!.]*/{CONFIG}"))
    if not engines:
        raise NotFound(f"there is no engine in {source}", "folder")
    repository.mkdir(parents=True, exist_ok=True)
    with _turn(repository):
        _clear(repository)
        for engine in engines:
            for version in numbers(engine):
                check_files(engine, version)
            yield from _add(engine, repository / engine.name, tell)


@contextlib.contextmanager
def _turn(repository: Path) -> Iterator[None]:
    """Several that add at once, such as pods with one volume, do so one after the other. Raises Conflict."""
    folder, deadline = os.open(repository, os.O_RDONLY), time.monotonic() + _TURN_S
    try:
        while not _taken(folder):
            if time.monotonic() >= deadline:
                raise Conflict(f"others add to {repository} and do not come to an end; try again")
            time.sleep(_ASK_S)
        yield
    finally:
        os.close(folder)


def _taken(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems lock no folder: `_move_in` finds out who was first
        return True
    return True


def _clear(repository: Path) -> None:
    """What one left behind that was killed."""
    for left in repository.glob(f"{_ASIDE}*"):
        with contextlib.suppress(FileNotFoundError):  # another one clears, too
            if time.time() - left.stat().st_mtime > _LEFT_S:
                shutil.rmtree(left)


def _add(engine: Path, there: Path, tell: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    if not (there / CONFIG).is_file() and _move_in(engine, there):
        yield from ((engine.name, version) for version in numbers(engine))
    elif (there / CONFIG).is_file():
        yield from _add_versions(engine, there, tell)
    else:
        tell(f"{there} has no {CONFIG}, and stays as it is: once it is taken away, the engine is added anew")


def _add_versions(engine: Path, there: Path, tell: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    added = False
    for version in numbers(engine):
        if (same := _same(there, checksums(engine, version))) is not None:
            try:
                check_files(there, same)
            except Conflict as error:
                tell(str(error))
            continue
        number = int(next(reversed(numbers(there)), "0")) + 1
        while not _move_in(engine / version, there / str(number), manifest_path(engine, version)):
            number += 1
        yield engine.name, str(number)
        added = True
    if added:
        for name in _different(engine, there):
            tell(f"{engine.name}/{name} stays, and is not the one that the new version came with")


def _same(engine: Path, sums: dict[str, str] | None) -> str | None:
    """The version whose manifest names the files of ``sums``."""
    return next((version for version in numbers(engine) if checksums(engine, version) == sums), None)


def _different(engine: Path, there: Path) -> list[str]:
    names = sorted(path.name for path in engine.iterdir() if path.is_file() and path.name not in _OF_THE_PLACE)
    _, others, missing = filecmp.cmpfiles(engine, there, names, shallow=False)
    return others + missing


def _move_in(folder: Path, target: Path, manifest: Path | None = None) -> bool:
    """Copied beside and moved: who looks meanwhile sees all of it or nothing. Whether there was nothing before."""
    if target.is_dir() and any(target.iterdir()):
        return False
    repository = target.parent if (folder / CONFIG).is_file() else target.parents[1]
    with tempfile.TemporaryDirectory(dir=repository, prefix=_ASIDE) as beside:
        staged = Path(shutil.copytree(folder, Path(beside) / "staged"))
        if manifest is not None:
            shutil.copy(manifest, staged / MANIFEST)
        try:
            staged.rename(target)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise
    return True
