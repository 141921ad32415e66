"""The latents of everything that the denoiser sees, made once with the finished encoder; can be stopped and resumed."""

from __future__ import annotations

import contextlib
import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from build_engines.mini.corpus.pictures import Corpus, Rgba, draw_all, more_variants, plain_variants
from build_engines.mini.loop import Stop
from build_engines.mini.pictures import Variant
from build_engines.mini.training.autoencoder import to_tensor
from build_engines.mini.training.networks import RgbaAutoencoder

_CHUNK = 64
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


def make(
    model: RgbaAutoencoder, corpus: Corpus, folder: Path, stop: Stop, part: str = PLAIN, processes: int = 1
) -> bool:
    """Encodes the variants of ``part`` into ``latents-PART.npy`` of ``folder``; False when it was stopped before the
    end. The scale is that of the plain part, which is made first. Several processes draw; they need the corpus to be
    in ``folder``."""
    plan, path = _plan(folder, part), folder / f"latents-{part}.npy"
    if not plan.is_file():
        rows = plain_variants(corpus) if part == PLAIN else more_variants(corpus)
        order = np.random.default_rng(0).permutation(len(rows))
        rows = [rows[int(i)] for i in order]
        stated = {"variants": [asdict(v) for v in rows]}
        plan.write_text(json.dumps(stated | ({"scale": _scale(model, corpus, rows)} if part == PLAIN else {})))
    rows = [Variant(**v) for v in json.loads(plan.read_text())["variants"]]
    factor = scale(folder)
    progress = _progress(folder, part)
    done = int(progress.read_text()) if progress.is_file() else 0
    if not path.is_file():
        shape = encode(model, corpus.pixels[:1]).shape[1:]
        _open(path, (len(rows), *shape)).flush()
    values = _open(path)
    drawn = draw_all(corpus, folder, rows[done:], processes)
    with contextlib.closing(drawn):
        while done < len(rows) and not stop():
            chunk = list(itertools.islice(drawn, _CHUNK))
            values[done : done + len(chunk)] = encode(model, np.stack(chunk)) * factor
            done += len(chunk)
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
def encode(model: RgbaAutoencoder, rgba: Rgba) -> npt.NDArray[np.float32]:
    """The encoder's latents (B, C, side, side) of pictures, not scaled."""
    latents = model.encoder(to_tensor(rgba).to(model.device))
    return np.asarray(latents.float().contiguous().cpu().numpy())


def _scale(model: RgbaAutoencoder, corpus: Corpus, rows: list[Variant]) -> float:
    chunks = [rows[i : i + _CHUNK] for i in range(0, min(_SCALED_BY, len(rows)), _CHUNK)]
    squares = [np.mean(encode(model, np.stack([corpus.draw(v) for v in chunk])) ** 2) for chunk in chunks]
    return float(1 / np.sqrt(np.mean(squares)))


def load(folder: Path) -> Latents:
    """All parts that are finished."""
    parts = [part for part in (PLAIN, MORE) if finished(folder, part)]
    plans = [json.loads(_plan(folder, part).read_text()) for part in parts]
    values = np.concatenate([np.load(folder / f"latents-{part}.npy") for part in parts])
    return Latents(values, tuple(Variant(**v) for plan in plans for v in plan["variants"]), plans[0]["scale"])


def scale(folder: Path) -> float:
    """What latents are multiplied by, see ``Latents``."""
    return float(json.loads(_plan(folder, PLAIN).read_text())["scale"])


def finished(folder: Path, part: str = PLAIN) -> bool:
    """Whether ``make`` has encoded everything of ``part``."""
    progress, plan = _progress(folder, part), _plan(folder, part)
    return progress.is_file() and int(progress.read_text()) == len(json.loads(plan.read_text())["variants"])
