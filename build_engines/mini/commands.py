"""What ``python -m build_engines train mini`` runs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import typer

from build_engines.mini import engines
from build_engines.mini.corpus import pictures
from build_engines.mini.evaluate import evaluate
from build_engines.mini.loop import Stop
from build_engines.mini.pipeline import DEFAULT_STAGES, MINI_DIR, STAGES, Run
from build_engines.mini.presets import MINI_PRESETS, MiniPreset
from build_engines.mini.training import checkpoint as rgba_checkpoint
from build_engines.mini.training import evaluation
from build_engines.mini.training import pipeline as training
from build_engines.mini.training.compare import compare
from build_engines.mini.training.judges import CaptionJudge
from build_engines.mini.training.kept_weights import WORDS, KeptWeights
from build_engines.mini.training.presets import RGBA, RGBA_PRESETS
from build_engines.stages import checked_stages

RGBA_DIR = MINI_DIR / "rgba"


def preset_of(name: str) -> MiniPreset:
    if name not in MINI_PRESETS:
        raise typer.BadParameter(
            f"one of {', '.join((*MINI_PRESETS, *RGBA_PRESETS))} for the family mini", param_hint="--preset"
        )
    return MINI_PRESETS[name]


def evaluate_mini(checkpoint: Path, threads: int, repository: Path) -> None:
    """Prints the table of ``build_engines.mini.evaluate`` for a checkpoint folder.

    Of one that draws with alpha that of ``build_engines.mini.training.evaluation``, beside the engines of `mini` in
    ``repository``; its corpus is beside it. One that was taught long steps is measured in these and in its usual ones.
    """
    torch.set_num_threads(threads)
    if rgba_checkpoint.holds_rgba(checkpoint):
        painter, folder = rgba_checkpoint.load(checkpoint), checkpoint.parent

        def of_mini(captions: Sequence[str], seeds: Sequence[int]) -> pictures.Rgba:
            return evaluation.enlarged(engines.draw_all(repository, captions, seeds))

        others: dict[str, evaluation.Draw] = {"mini": of_mini} if engines.are_there(repository) else {}
        draw = painter.draw_all
        if rgba_checkpoint.goes_long_steps(checkpoint):
            draw, others["20-steps"] = functools.partial(painter.draw_all, few_steps=True), painter.draw_all
        if (checkpoint / "judge").is_dir():
            judge = CaptionJudge.from_pretrained(checkpoint / "judge")
            others["best-of-4"] = evaluation.best_of(draw, judge, painter.tokenizer)
        evaluation.evaluate(folder, pictures.load(folder), draw, checkpoint.name, others=others)
        return
    evaluate(MINI_DIR, checkpoint, repository=repository)


def compare_mini(folder: Path | None, seconds: float, threads: int, words: Sequence[str]) -> None:
    """Runs the experiments of ``build_engines.mini.training.compare`` and prints their table."""
    torch.set_num_threads(threads)
    stop = Stop()
    with stop.on_signals():
        compare(training.Run(RGBA, stop, folder or RGBA_DIR), seconds, words)


def train_mini(
    preset: str,
    stages: Sequence[str],
    minutes: float | None,
    threads: int,
    compiled: bool,
    folder: Path | None,
    repository: Path,
    samples: int | None = None,
) -> None:
    """Trains the stages in order, or goes on where they stopped; in an empty folder from the weights of the engines in
    ``repository``."""
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high")  # of a GPU
    stop = Stop(minutes)
    run: Run | training.Run
    known: Sequence[str]
    usual: Sequence[str]
    if preset in RGBA_PRESETS:
        chosen = RGBA_PRESETS[preset]
        denoiser = replace(chosen.denoiser, samples=samples or chosen.denoiser.samples)
        run, known, usual = (
            training.Run(
                replace(chosen, denoiser=denoiser),
                stop,
                folder or RGBA_DIR,
                compiled,
                threads,
                kept=KeptWeights(repository, WORDS),
            ),
            training.STAGES,
            training.DEFAULT_STAGES,
        )
    else:
        run, known, usual = Run(preset_of(preset), stop, folder or MINI_DIR, compiled), STAGES, DEFAULT_STAGES
    wanted = checked_stages(stages, known, usual)
    with stop.on_signals():
        finished = run.train(wanted)
    typer.echo("finished" if finished else "stopped; the same command goes on from here")
