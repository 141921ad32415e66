"""Compares latents, networks, batches and number formats after equal CPU time, and keeps the table.

Seconds are those of the process's own CPU time, not of the clock: on a machine that others use as well, equal minutes
would compare how busy it was. Each experiment is run once and is a row of ``compare.csv``; delete a row to repeat it.
"""

from __future__ import annotations

import contextlib
import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from build_engines.mini.corpus import pictures
from build_engines.mini.training import autoencoder, latents
from build_engines.mini.training.autoencoder import AutoencoderLearner
from build_engines.mini.training.flow import FlowLearner
from build_engines.mini.training.pipeline import Run
from build_engines.mini.training.presets import AUTOENCODERS, RGBA, AutoencoderPreset, DenoiserPreset

_COLUMNS = ("experiment", "measure", "value", "pictures", "cpu_s", "wall_s", "parameters_m")
_VALIDATION = range(10**9, 10**9 + 8)
"""Steps whose batches measure a denoiser; training never comes to them."""


@dataclass(frozen=True)
class Experiment:
    """``preset`` says which part is trained. ``bfloat16``: matrix products in it; ``compiled``: by torch.compile."""

    name: str
    preset: AutoencoderPreset | DenoiserPreset
    bfloat16: bool = False
    compiled: bool = False


_SMALL = AUTOENCODERS["8x8x32"]
_HYBRID = replace(
    RGBA.denoiser,
    widths=(96, 384),
    heads=(4, 6),
    layers=4,
    blocks=1,
    batch=64,
    noise_mean=0.0,
    noise_std=1.0,
    warm_up_steps=50,
)
_VECTOR = replace(
    RGBA.denoiser,
    kind="vector",
    widths=(768,),
    heads=(),
    text_layers=1,
    noise_mean=1.5,
    noise_std=1.5,
    warm_up_steps=50,
)
_UNET = replace(_HYBRID, kind="unet", widths=(128, 256), heads=(4, 8), layers=1)
_DIT = replace(_HYBRID, kind="dit", widths=(256,), heads=(4,), layers=8)
_WIDE_DIT = replace(_DIT, widths=(384,), heads=(6,), layers=10, patch=2)
EXPERIMENTS = (
    *(Experiment(f"autoencoder {name}", preset) for name, preset in AUTOENCODERS.items()),
    Experiment("autoencoder 8x8x32, batch 16", replace(_SMALL, batch=16)),
    Experiment("autoencoder 8x8x32, bfloat16", _SMALL, bfloat16=True),
    Experiment("denoiser UNet 128-256", _UNET),
    Experiment("denoiser UNet 128-256, compiled", _UNET, compiled=True),
    Experiment("denoiser UNet 160-288", replace(_UNET, widths=(160, 288), heads=(5, 9))),
    Experiment("denoiser DiT 256 wide, 8 deep", _DIT),
    Experiment("denoiser DiT 384 wide, 10 deep, patches of 2", _WIDE_DIT),
    Experiment("denoiser hybrid 96-384, 4 deep", _HYBRID),
    Experiment("denoiser hybrid 96-384, 4 deep, batch 32", replace(_HYBRID, batch=32)),
    Experiment("denoiser hybrid 96-384, 4 deep, compiled", _HYBRID, compiled=True),
    Experiment("denoiser vector 768, 6 deep", _VECTOR),
    Experiment("denoiser vector 512, 6 deep", replace(_VECTOR, widths=(512,))),
    Experiment("denoiser hybrid 128-384, 10 deep", replace(_HYBRID, widths=(128, 384), layers=10, blocks=2)),
)


def compare(run: Run, cpu_s: float, words: Sequence[str] = ()) -> None:
    """Runs what ``compare.csv`` of the run's folder lacks, and prints the table. ``words``: all are in the name.

    Denoisers need the latents; they are left out before these are there.
    """
    path = run.folder / "compare.csv"
    for experiment in EXPERIMENTS:
        ready = isinstance(experiment.preset, AutoencoderPreset) or latents.finished(run.folder)
        wanted = all(word in experiment.name for word in words)
        if ready and wanted and experiment.name not in {row["experiment"] for row in _rows(path)} and not run.stop():
            row = _measure(run, experiment, cpu_s)
            if row is not None:
                _append(path, row)
    print(table(path))


def _measure(run: Run, experiment: Experiment, cpu_s: float) -> dict[str, object] | None:
    """One row; None when it was stopped."""
    preset = experiment.preset
    learner: AutoencoderLearner | FlowLearner
    if isinstance(preset, AutoencoderPreset):
        learner = AutoencoderLearner(replace(preset, samples=10**9), run.corpus)
    else:
        tested = replace(run, preset=replace(run.preset, denoiser=preset), compiled=experiment.compiled)
        learner = tested.flow_learner()
    steps, spent, began = 0, 0.0, time.monotonic()
    with _format(experiment.bfloat16):
        learner.step(0)
        while spent < cpu_s and not run.stop():
            start = time.process_time()
            learner.step(steps)
            spent, steps = spent + time.process_time() - start, steps + 1
    if run.stop():
        return None
    measure, value = _quality(learner)
    parameters = sum(p.numel() for p in learner.model.parameters()) / 1e6
    shown = (f"{value:.4g}", steps * learner.batch, round(spent), round(time.monotonic() - began), f"{parameters:.1f}")
    return dict(zip(_COLUMNS, (experiment.name, measure, *shown), strict=True))


@contextlib.contextmanager
def _format(bfloat16: bool) -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        yield


@torch.no_grad()
def _quality(learner: AutoencoderLearner | FlowLearner) -> tuple[str, float]:
    """Name and value: PSNR of unseen icons, or the loss of the weights of the moment on batches of their own."""
    if isinstance(learner, AutoencoderLearner):
        unseen = pictures.unseen(learner.corpus)
        return "PSNR, dB", autoencoder.psnr(autoencoder.reconstruct(learner.model, unseen), unseen)
    learner.model.eval()
    losses = [float(learner.loss(learner.model, n)) for n in _VALIDATION]
    return "loss", sum(losses) / len(losses)


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines())) if path.is_file() else []


def _append(path: Path, row: dict[str, object]) -> None:
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(row)


def table(path: Path) -> str:
    """The rows of ``path`` in Markdown."""
    lines = [
        "| experiment | measure | value | pictures | CPU s | clock s | M parameters |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    return "\n".join([*lines, *("| " + " | ".join(row.values()) + " |" for row in _rows(path))])
