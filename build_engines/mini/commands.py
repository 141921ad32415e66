"""What ``python -m build_engines train mini`` runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import typer

from build_engines.mini.evaluate import evaluate
from build_engines.mini.loop import Stop
from build_engines.mini.pipeline import DEFAULT_STAGES, MINI_DIR, STAGES, Run
from build_engines.mini.presets import MINI_PRESETS, MiniPreset


def preset_of(name: str) -> MiniPreset:
    if name not in MINI_PRESETS:
        raise typer.BadParameter(f"one of {', '.join(MINI_PRESETS)} for the family mini", param_hint="--preset")
    return MINI_PRESETS[name]


def evaluate_mini(checkpoint: Path, threads: int, repository: Path) -> None:
    """Prints the table of ``build_engines.mini.evaluate`` for a checkpoint folder."""
    torch.set_num_threads(threads)
    evaluate(MINI_DIR, checkpoint, repository=repository)


def train_mini(preset: str, stages: Sequence[str], minutes: float | None, threads: int, compiled: bool) -> None:
    """Trains the stages in order, or goes on where they stopped."""
    unknown = [s for s in stages if s not in STAGES]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(STAGES)}", param_hint="--stage")
    torch.set_num_threads(threads)
    stop = Stop(minutes)
    with stop.on_signals():
        finished = Run(preset_of(preset), stop, compiled=compiled).train(tuple(stages) or DEFAULT_STAGES)
    typer.echo("finished" if finished else "stopped; the same command goes on from here")
