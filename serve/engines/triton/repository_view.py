"""The view of the model repository that one Triton gets: links to the selected versions only.

Triton serves all of its folder. With its own view, the selection survives a restart, and versions added to the
repository are not served before they are selected.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from serve.errors import EngineUnavailable

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
