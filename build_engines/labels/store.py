"""Where labels are kept between runs: one small file per picture, in a folder named by what they depend on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from build_engines.data.icons import VAR

TRACING = (
    "serve/vector/coverage",
    "serve/vector/trace.py",
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
    "serve/vector/structure.py",
    "serve/vector/views.py",
    "build_engines/data/degrade.py",
    "build_engines/data/render.py",
    "build_engines/data/samples.py",
)


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
