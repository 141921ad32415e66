"""Names for cached results, by the code that they depend on."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def fingerprint(sources: tuple[str, ...]) -> str:
    """Twelve hex digits over the named files (folders: their Python files), so a change starts new labels.

    Read once per process: a file edited during a run does not split its labels in two.
    """
    digest = hashlib.sha256()
    for name in sources:
        path = ROOT / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
