"""A site's conversions, exported by `atelier models samples`, as labels of the `quality` network (D-080, D-081)."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from build_engines.train.networks import EMBEDDING, Quality
from build_engines.train.pictures import LEAST_ERROR, Labelled
from serve.errors import InvalidRequest
from serve.vector.parameters import CANDIDATE_WIDTH

TRIALS = 8
"""Per picture; the trials of one with fewer are repeated."""
_SHAPES = {"embedding": (EMBEDDING,), "trials": (CANDIDATE_WIDTH + 3,), "counts": (), "image_sha256": ()}
_KINDS = {"embedding": "f", "trials": "f", "counts": "i", "image_sha256": "U", "features_version": "U"}
_BOUNDS: dict[str, tuple[npt.ArrayLike, npt.ArrayLike]] = {
    "embedding": (0, 1),
    "trials": ([*[0] * CANDIDATE_WIDTH, -1, 0, 0], [*[1] * (CANDIDATE_WIDTH + 1), 2**31, 2**31]),
}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Learnt:
    """Pictures with their embeddings (M, 512) and labels."""

    embedding: Tensor
    labels: Labelled

    def of(self, chosen: npt.NDArray[np.bool_]) -> Learnt:
        labels = self.labels
        index = np.arange(int(chosen.sum()))
        return Learnt(self.embedding[chosen], Labelled(index, labels.candidates[chosen], labels.measures[chosen]))

    def __len__(self) -> int:
        return len(self.embedding)


@dataclass(frozen=True)
class SiteSamples:
    """``hashes`` (M,): the first 32 bits of each picture's SHA-256."""

    learnt: Learnt
    hashes: npt.NDArray[np.int64]

    def split(self) -> tuple[Learnt, Learnt, Learnt]:
        """To train on (three fifths), to choose by, to judge by; all conversions of a picture are in one part."""
        part = self.hashes % 5
        return self.learnt.of(part > 1), self.learnt.of(part == 1), self.learnt.of(part == 0)


def read_samples(path: Path, features_version: str, quality: Quality) -> SiteSamples:
    """The samples of ``path`` whose embedding is of ``features_version``; each picture once, its newest conversion.

    A site measures SSIM, bytes and paths. Fidelity to the original cannot be measured there: it is ``quality``'s
    prediction, corrected by the ratio by which the error of SSIM was mispredicted. Time is ``quality``'s prediction:
    clocks of a busy site are no label. Raises InvalidRequest for a file that is not such an export.
    """
    arrays = _read(path)
    starts = np.cumsum(arrays["counts"]) - arrays["counts"]
    usable = np.flatnonzero(arrays["features_version"] == features_version)
    newest = {str(arrays["image_sha256"][i]): int(i) for i in usable}
    if not newest:
        raise InvalidRequest(f"has no conversions with image_features {features_version}", "--samples")
    chosen = np.array(sorted(newest.values()))
    trials = np.stack([np.resize(arrays["trials"][starts[i] :][: arrays["counts"][i]], (TRIALS, 13)) for i in chosen])
    embedding = torch.from_numpy(arrays["embedding"][chosen].astype(np.float32))
    rows = np.ascontiguousarray(trials[..., :CANDIDATE_WIDTH], np.float32)
    labels = Labelled(np.arange(len(chosen)), rows, _measures(quality, embedding, rows, trials[..., CANDIDATE_WIDTH:]))
    hashes = np.array([int(str(arrays["image_sha256"][i])[:8], 16) for i in chosen], np.int64)
    return SiteSamples(Learnt(embedding, labels), hashes)


@torch.no_grad()
def _measures(
    quality: Quality, embedding: Tensor, rows: npt.NDArray[np.float32], measured: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """(M, K, 5) in the order of MEASURES, of ``measured`` (M, K, 3)."""
    predicted = quality.logarithms(embedding, torch.from_numpy(rows)).numpy()
    ssim, size, paths = np.moveaxis(measured, -1, 0)
    error = np.clip(1 - ssim, LEAST_ERROR, 1.0)
    ratio = error / np.exp2(np.minimum(predicted[..., 0], 0))
    fidelity = 1 - np.clip(np.exp2(np.minimum(predicted[..., 1], 0)) * ratio, LEAST_ERROR, 1.0)
    columns = [ssim, fidelity, size, paths, np.exp2(predicted[..., 3])]
    return np.asarray(np.stack(columns, axis=-1), np.float32)


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MAX_BYTES:
                raise InvalidRequest("is too large", "--samples")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _KINDS}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InvalidRequest("is no export of `atelier models samples`", "--samples") from error
    count = len(arrays["counts"])
    if any(arrays[name].dtype.kind != kind for name, kind in _KINDS.items()) or not all(
        _SHA256.fullmatch(str(found)) for found in arrays["image_sha256"]
    ):
        raise InvalidRequest("is no export of `atelier models samples`", "--samples")
    fits = all(arrays[name].shape[1:] == shape for name, shape in _SHAPES.items())
    fits = fits and all(len(found) == count for name, found in arrays.items() if name != "trials")
    if not fits or (arrays["counts"] < 1).any() or arrays["counts"].sum() != len(arrays["trials"]):
        raise InvalidRequest("has arrays that do not fit together", "--samples")
    if not all(_is_within(arrays[name], *bounds) for name, bounds in _BOUNDS.items()):
        raise InvalidRequest("has values out of range", "--samples")
    return arrays


def _is_within(values: npt.NDArray[Any], least: npt.ArrayLike, most: npt.ArrayLike) -> bool:
    """False for NaN."""
    return bool(((values >= least) & (values <= most)).all())
