"""``python -m build_engines train style``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from build_engines import data
from build_engines.stages import checked_stages
from serve.settings import project_path

STAGES = ("train", "engine", "originals")
ORIGINALS = project_path(Path("deployments/style_transfer"))
DEFAULT_MINUTES = 8.0


def train_style(minutes: float | None, threads: int, repository: Path, version: str, stages: Sequence[str]) -> None:
    """Trains the network of style transfer for ``minutes`` of processor time, further where it was trained before;
    writes its two engines, and paints the pictures of the site's styles."""
    from build_engines.style.engine import WEIGHTS, load_weights, save_weights, write_engines
    from build_engines.style.originals import write_originals
    from build_engines.style.training import evaluate, train

    wanted = checked_stages(stages, STAGES, STAGES)
    if not data.installed():
        data.install()
    limit = minutes or DEFAULT_MINUTES
    if "train" in wanted:
        begun = load_weights() if WEIGHTS.is_file() else None
        save_weights(train(limit, threads, snapshot=save_weights, begin_with=begun))
    if "originals" in wanted:
        typer.echo(f"painted {len(write_originals(ORIGINALS))} styles into {ORIGINALS.name}")
    if "engine" not in wanted:
        return
    network = load_weights()
    report = evaluate(network)
    typer.echo(
        f"distance to the painted picture {report.network:.3f}; of the scene as it is {report.scene:.3f}, of the "
        f"style's picture {report.style:.3f} ({report.pictures} scenes that it has not seen); "
        f"its own style changes a picture by {report.own:.1f} levels of 255"
    )
    if report.network >= min(report.scene, report.style):
        raise typer.BadParameter("it paints no better than doing nothing: train it longer", param_hint="--minutes")
    for folder in write_engines(network, report, limit, repository, version):
        typer.echo(f"wrote {folder}")
