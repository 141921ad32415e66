"""Lays engines of another folder into a model repository: those that come with a release, or were trained anew."""

from __future__ import annotations

import filecmp
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from serve.engines.manifests import MANIFEST, check_files, manifest_path, sums_of
from serve.engines.repository_view import CONFIG, numbers
from serve.errors import Conflict, NotFound

_OF_THE_PLACE = (MANIFEST, "profile.json")
"""Beside the versions of an engine, what need not be the same: the first version's, and what was measured there."""
_ASIDE, _LEFT_S = ".added-", 24 * 3600


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
    for left in repository.glob(f"{_ASIDE}*"):  # by one that was killed
        if time.time() - left.stat().st_mtime > _LEFT_S:
            shutil.rmtree(left)
    for engine in engines:
        for version in numbers(engine):
            check_files(engine, version)
        if (repository / engine.name / CONFIG).is_file():
            yield from _add_versions(engine, repository / engine.name, tell)
        else:
            _move_in(engine, repository / engine.name)
            yield from ((engine.name, version) for version in numbers(engine))


def _add_versions(engine: Path, there: Path, tell: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    added = False
    for version in numbers(engine):
        if (same := _same(there, sums_of(engine, version))) is not None:
            try:
                check_files(there, same)
            except Conflict as error:
                tell(str(error))
            continue
        number = str(int(next(reversed(numbers(there)), "0")) + 1)
        _move_in(engine / version, there / number, manifest_path(engine, version))
        yield engine.name, number
        added = True
    if added:
        for name in _different(engine, there):
            tell(f"{engine.name}/{name} stays, and is not the one that the new version came with")


def _same(engine: Path, sums: dict[str, str] | None) -> str | None:
    """The version whose manifest names the files of ``sums``."""
    return next((version for version in numbers(engine) if sums_of(engine, version) == sums), None)


def _different(engine: Path, there: Path) -> list[str]:
    names = sorted(path.name for path in engine.iterdir() if path.is_file() and path.name not in _OF_THE_PLACE)
    _, others, missing = filecmp.cmpfiles(engine, there, names, shallow=False)
    return others + missing


def _move_in(folder: Path, target: Path, manifest: Path | None = None) -> None:
    """Copied beside and moved: who looks meanwhile sees all of it or nothing."""
    repository = target.parent if (folder / CONFIG).is_file() else target.parents[1]
    with tempfile.TemporaryDirectory(dir=repository, prefix=_ASIDE) as beside:
        staged = Path(shutil.copytree(folder, Path(beside) / "staged"))
        if manifest is not None:
            shutil.copy(manifest, staged / MANIFEST)
        staged.rename(target)
