"""``python -m build_engines train adapters``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import typer

from build_engines import data
from build_engines.data.icons import VAR
from build_engines.mini.adapters.kinds import ADAPTERS, KINDS, Adapter
from build_engines.mini.adapters.read_back import read_back, read_painter
from build_engines.mini.adapters.sheets import write_sheets
from build_engines.mini.captions import STYLES as ICON_STYLES
from build_engines.mini.drawing import Painter
from build_engines.mini.loop import Loop, Stop, samples_of
from serve.settings import project_path

KEPT_LORAS = Path(__file__).parents[1] / "weights" / "loras"
"""The LoRAs that ship."""
FOLDER = VAR / "mini" / "adapters"
SAVED_EVERY_S = 60.0


def train_adapters(
    kinds: Sequence[str], minutes: float | None, threads: int, repository: Path, folder: Path | None
) -> None:
    """Trains those of ``kinds`` one after another, or goes on where they stopped, and writes what they are so far."""
    wanted = [one for one in ADAPTERS.values() if not kinds or one.kind in kinds or one.name in kinds]
    unknown = set(kinds) - {*KINDS, *ADAPTERS}
    if unknown:
        raise typer.BadParameter(f"one of {', '.join(dict.fromkeys((*KINDS, *ADAPTERS)))}", param_hint="--kind")
    torch.set_num_threads(threads)
    if not data.installed():
        data.install()
    folder = folder or FOLDER
    if not (folder / "checkpoint").is_dir():
        read_back(repository, folder / "checkpoint")
    stop = Stop(minutes)
    with stop.on_signals():
        for adapter in wanted:
            finished = _train(adapter, read_painter(repository), folder, stop)
            typer.echo(f"{adapter.name}: {'finished' if finished else 'stopped; the same command goes on from here'}")


def draw_sheets(repository: Path) -> None:
    """Draws the contact sheets with the engines of ``repository`` into docs/media."""
    if not data.installed():
        data.install()
    for path in write_sheets(repository, FOLDER.parent, KEPT_LORAS, project_path("docs/media")):
        typer.echo(f"wrote {path}")


def _train(adapter: Adapter, painter: Painter, folder: Path, stop: Stop) -> bool:
    painter.denoiser.requires_grad_(False)
    learner = adapter.learner(painter, adapter.corpus(painter, folder.parent, folder))
    loop = Loop(folder / f"{adapter.name}.pt", learner.steps, SAVED_EVERY_S, stop)
    finished = loop.run(learner)
    kept = folder / adapter.kept
    learner.settle().save(kept)  # type: ignore[operator]
    log = loop.path.with_suffix(".csv")
    sets = [one for one in data.ICON_SETS if one.name in ICON_STYLES]
    facts = {
        "name": adapter.name,
        "kind": adapter.kind,
        "command": f"python -m build_engines train adapters --kind {adapter.name}",
        "data": [{"package": one.package, "version": one.version, "license": one.license} for one in sets],
        "parameters": sum(parameter.numel() for parameter in learner.trained),
        "samples": samples_of(log),
        "seconds": round(loop.seconds),
    }
    (folder / f"{adapter.name}.json").write_text(json.dumps(facts, indent=2) + "\n")
    return finished
