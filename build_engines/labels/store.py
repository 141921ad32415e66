"""Where labels are kept between runs: one small file per picture, in a folder named by what they depend on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from build_engines.data.icons import VAR

ROOT = Path(__file__).parents[2]

TRACING = (
    "serve/vector/coverage",
    "serve/vector/stock.py",
    "serve/vector/compare.py",
    "serve/vector/parameters.py",
    "build_engines/data/degrade.py",
    "build_engines/data/render.py",
    "build_engines/data/samples.py",
    "build_engines/labels/candidates.py",
    "build_engines/labels/measure.py",
)
PICTURES = (
    "serve/vector/features.py",
    "build_engines/data/degrade.py",
    "build_engines/data/kinds.py",
    "build_engines/data/render.py",
    "build_engines/data/samples.py",
)


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


@dataclass(frozen=True)
class Labels:
    """One picture's candidates, shape (K, 10), and what came of them, shape (K, 5) in the order of MEASURES."""

    candidates: npt.NDArray[np.float32]
    measures: npt.NDArray[np.float32]


class LabelStore:
    """Labels by picture name, under ``var/labels/<tag>``. A file is written whole or not at all."""

    def __init__(self, tag: str, folder: Path = VAR / "labels") -> None:
        self.folder = folder / tag

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '--')}.npz"

    def __contains__(self, name: str) -> bool:
        return self._path(name).is_file()

    def read(self, name: str) -> Labels:
        with np.load(self._path(name), allow_pickle=False) as arrays:
            return Labels(arrays["candidates"], arrays["measures"])

    def write(self, name: str, labels: Labels) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(name)
        temporary = path.with_suffix(".part.npz")
        np.savez(temporary, candidates=labels.candidates, measures=labels.measures)
        temporary.rename(path)
