"""The pictures that the networks see, as arrays, with their type and labels."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from build_engines.data import CONDITIONS, draw
from build_engines.data.construction import construction
from build_engines.data.icons import VAR
from build_engines.data.kinds import CLEAR, shares_of, type_shares
from build_engines.fingerprint import fingerprint
from build_engines.labels.collect import Drawn
from build_engines.labels.store import PICTURES, Labels, LabelStore
from serve.vector.features import network_input
from serve.vector.structure import structure_of

CHUNK = 128


@dataclass(frozen=True)
class Pictures:
    """N pictures: inputs of `image_features` and `logo_type`, index of the condition, size in pixels, shares (N, 4) of
    the types."""

    pixels: npt.NDArray[np.uint8]
    detail: npt.NDArray[np.uint8]
    statistics: npt.NDArray[np.float32]
    structure: npt.NDArray[np.float32]
    condition: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.size)

    @property
    def kind(self) -> npt.NDArray[np.int64]:
        """(N,): the type with the largest share."""
        return np.asarray(self.shares.argmax(axis=1), np.int64)

    @property
    def clear(self) -> npt.NDArray[np.bool_]:
        """(N,): whether the type is beyond doubt."""
        return np.asarray(self.shares.max(axis=1) >= CLEAR)

    @staticmethod
    def join(parts: Sequence[Pictures]) -> Pictures:
        return Pictures(*(np.concatenate([getattr(p, name) for p in parts]) for name in Pictures.__dataclass_fields__))


def make_picture(picture: Drawn) -> Pictures:
    sample = draw(picture.icon, picture.seed)
    inputs = network_input(sample.rgba)
    arrays: dict[str, Any] = {name: inputs[name][None] for name in ("pixels", "detail", "statistics")}
    return Pictures(
        **arrays,
        structure=structure_of(sample.rgba).to_vector()[None],
        condition=np.array([CONDITIONS.index(sample.condition)]),
        size=np.array([sample.size]),
        shares=shares_of(construction(picture.icon))[None],
    )


def _make_chunk(job: tuple[Sequence[Drawn], Path]) -> None:
    drawn, path = job
    made = Pictures.join([make_picture(picture) for picture in drawn])
    temporary = path.with_suffix(".part.npz")
    np.savez_compressed(temporary, **{name: getattr(made, name) for name in _KEPT})
    temporary.rename(path)


def prepare(drawn: Sequence[Drawn], name: str, processes: int, folder: Path = VAR / "pictures") -> Pictures:
    """``drawn`` as arrays, rendered in chunks that are kept under ``folder`` and reused."""
    target = folder / fingerprint(PICTURES) / name
    target.mkdir(parents=True, exist_ok=True)
    chunks = [drawn[i : i + CHUNK] for i in range(0, len(drawn), CHUNK)]
    paths = [target / f"{chunk[0].name}-{len(chunk)}.npz".replace("/", "--") for chunk in chunks]
    jobs = [(chunk, path) for chunk, path in zip(chunks, paths, strict=True) if not path.is_file()]
    if jobs:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            for _ in tqdm(pool.imap_unordered(_make_chunk, jobs), total=len(jobs), desc=f"pictures {name}"):
                pass
    shares = type_shares([picture.icon for picture in drawn], processes)
    parts = np.split(shares, range(CHUNK, len(drawn), CHUNK))
    return Pictures.join([_read(path, part) for path, part in zip(paths, parts, strict=True)])


_KEPT = ("pixels", "detail", "statistics", "structure", "condition", "size")


def _read(path: Path, shares: npt.NDArray[np.float32]) -> Pictures:
    with np.load(path, allow_pickle=False) as arrays:
        return Pictures(**{key: arrays[key] for key in _KEPT}, shares=shares)


@dataclass(frozen=True)
class Labelled:
    """``index`` (M,) into pictures; ``candidates`` (M, K, 10); ``measures`` (M, K, 5) in the order of MEASURES."""

    index: npt.NDArray[np.int64]
    candidates: npt.NDArray[np.float32]
    measures: npt.NDArray[np.float32]

    @property
    def logarithms(self) -> npt.NDArray[np.float32]:
        """(M, K, 5): log2 of 1 - ssim, 1 - fidelity, bytes, ms, paths: what `Quality` predicts."""
        ssim, fidelity, size, paths, ms = np.moveaxis(self.measures, -1, 0)
        errors = [np.clip(1 - v, LEAST_ERROR, 1.0) for v in (ssim, fidelity)]
        columns = [*errors, np.maximum(size, 1), np.maximum(ms, 0.1), np.maximum(paths, 0.5)]
        return np.asarray(np.log2(np.stack(columns, axis=-1)), np.float32)


LEAST_ERROR = 2.0**-11
"""Errors below this (SSIM over 0.9995) count as this: differences down there are noise."""


def labelled(drawn: Sequence[Drawn], store: LabelStore, count: int) -> Labelled:
    """The labels of those pictures among ``drawn`` that ``store`` has, each with ``count`` candidates.

    Raises FileNotFoundError when it has none.
    """
    index = [i for i, picture in enumerate(drawn) if picture.name in store]
    if not index:
        raise FileNotFoundError(f"no labels under {store.folder}: run `python -m build_engines labels`")
    labels: list[Labels] = [store.read(drawn[i].name) for i in index]
    return Labelled(
        np.array(index, np.int64),
        np.stack([entry.candidates[:count] for entry in labels]),
        np.stack([entry.measures[:count] for entry in labels]),
    )
