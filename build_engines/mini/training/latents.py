"""The latents of everything that the denoiser sees, made once with the finished encoder; can be stopped and resumed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from build_engines.mini.corpus.pictures import Corpus, more_variants, plain_variants
from build_engines.mini.loop import Stop
from build_engines.mini.pictures import Variant
from build_engines.mini.training.autoencoder import to_tensor
from build_engines.mini.training.networks import RgbaAutoencoder

_CHUNK = 32
_SCALED_BY = 1024
"""How many pictures the scale is measured on."""


PLAIN, MORE = "plain", "more"
"""The two parts: icons as they are, and recoloured and mirrored ones. Training begins with the first."""


@dataclass(frozen=True)
class Latents:
    """``values``: (M, C, side, side) float16; ``variants``: what each row shows.

    ``values`` is what the encoder gives times ``scale``, so that the mean square is about 1.
    """

    values: npt.NDArray[np.float16]
    variants: tuple[Variant, ...]
    scale: float


def make(model: RgbaAutoencoder, corpus: Corpus, folder: Path, stop: Stop, part: str = PLAIN) -> bool:
    """Encodes the variants of ``part`` into ``latents-PART.npy`` of ``folder``; False when it was stopped before the
    end. The scale is that of the plain part, which is made first."""
    plan, path = _plan(folder, part), folder / f"latents-{part}.npy"
    if not plan.is_file():
        rows = plain_variants(corpus) if part == PLAIN else more_variants(corpus)
        order = np.random.default_rng(0).permutation(len(rows))
        rows = [rows[int(i)] for i in order]
        scale = _scale(model, corpus, rows) if part == PLAIN else json.loads(_plan(folder, PLAIN).read_text())["scale"]
        plan.write_text(json.dumps({"scale": scale, "variants": [asdict(v) for v in rows]}))
    stated = json.loads(plan.read_text())
    rows = [Variant(**v) for v in stated["variants"]]
    progress = _progress(folder, part)
    done = int(progress.read_text()) if progress.is_file() else 0
    if not path.is_file():
        shape = encode(model, corpus, rows[:1]).shape[1:]
        _open(path, (len(rows), *shape)).flush()
    values = _open(path)
    while done < len(rows) and not stop():
        values[done : done + _CHUNK] = encode(model, corpus, rows[done : done + _CHUNK]) * stated["scale"]
        done = min(done + _CHUNK, len(rows))
        if done % (_CHUNK * 32) == 0 or done == len(rows):
            values.flush()
            progress.write_text(str(done))
    return done == len(rows)


def _plan(folder: Path, part: str) -> Path:
    return folder / f"variants-{part}.json"


def _progress(folder: Path, part: str) -> Path:
    return folder / f"latents-{part}.progress"


def _open(path: Path, shape: tuple[int, ...] | None = None) -> np.memmap[Any, np.dtype[np.float16]]:
    """The array on disk, for writing; made new when ``shape`` says which."""
    mode = "w+" if shape else "r+"
    mapped: np.memmap[Any, np.dtype[np.float16]]
    mapped = np.lib.format.open_memmap(path, mode, np.float16, shape)  # type: ignore[no-untyped-call]
    return mapped


@torch.no_grad()
def encode(model: RgbaAutoencoder, corpus: Corpus, rows: list[Variant]) -> npt.NDArray[np.float32]:
    """The encoder's latents (B, C, side, side), not scaled."""
    drawn = to_tensor(np.stack([corpus.draw(v) for v in rows]))
    return np.asarray(model.encoder(drawn).contiguous().numpy())


def _scale(model: RgbaAutoencoder, corpus: Corpus, rows: list[Variant]) -> float:
    starts = range(0, min(_SCALED_BY, len(rows)), _CHUNK)
    squares = [np.mean(encode(model, corpus, rows[i : i + _CHUNK]) ** 2) for i in starts]
    return float(1 / np.sqrt(np.mean(squares)))


def load(folder: Path) -> Latents:
    """All parts that are finished."""
    parts = [part for part in (PLAIN, MORE) if finished(folder, part)]
    plans = [json.loads(_plan(folder, part).read_text()) for part in parts]
    values = np.concatenate([np.load(folder / f"latents-{part}.npy") for part in parts])
    return Latents(values, tuple(Variant(**v) for plan in plans for v in plan["variants"]), plans[0]["scale"])


def finished(folder: Path, part: str = PLAIN) -> bool:
    """Whether ``make`` has encoded everything of ``part``."""
    progress, plan = _progress(folder, part), _plan(folder, part)
    return progress.is_file() and int(progress.read_text()) == len(json.loads(plan.read_text())["variants"])
