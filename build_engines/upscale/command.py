"""``python -m build_engines train upscaler`` and ``python -m build_engines finish``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from build_engines import data
from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.illustrate.refusal import Refused
from build_engines.options import check_name
from build_engines.stages import checked_stages

SCALES = (2, 4)
STAGES = ("train", "engine")
DEFAULT_MINUTES = 12.0


def train_upscalers(minutes: float | None, threads: int, repository: Path, version: str, stages: Sequence[str]) -> None:
    """Trains ``upscale_2x`` and ``upscale_4x`` for ``minutes`` each, and writes those that beat the filters."""
    from build_engines.upscale.engine import load_weights, save_weights, write_upscaler
    from build_engines.upscale.training import evaluate, train

    wanted = checked_stages(stages, STAGES, STAGES)
    if not data.installed():
        data.install()
    limit = minutes or DEFAULT_MINUTES
    for scale in SCALES:
        if "train" in wanted:
            save_weights(train(scale, limit, threads))
        if "engine" not in wanted:
            continue
        network = load_weights(scale)
        report = evaluate(network)
        typer.echo(
            f"x{scale}: {report.network:.2f} dB; bicubic {report.bicubic:.2f}, Lanczos {report.lanczos:.2f} "
            f"({report.icons} icons that it has not seen)"
        )
        if report.gain <= 0:
            raise typer.BadParameter(f"x{scale} is no better than a filter: train it longer", param_hint="--minutes")
        typer.echo(f"wrote {write_upscaler(network, report, limit, repository, version)}")


def finish(
    source: Annotated[Path, typer.Option("--source", help="An ONNX file: RGB from 0 to 1, (n, 3, height, width).")],
    name: Annotated[str, typer.Option("--name", help="Of the engine: lower case, digits, underscores.")],
    task: Annotated[str, typer.Option("--task", help="upscale, faces or background.")] = "upscale",
    side: Annotated[
        int | None, typer.Option("--side", min=16, max=4096, help="Of networks that take one size alone: pixels.")
    ] = None,
    repository: Annotated[
        Path, typer.Option("--repository", help="Where the engines' folders are written.")
    ] = MODEL_REPOSITORY,
    version: Annotated[str, typer.Option("--version", help="The version that the manifest states.")] = "1",
) -> None:
    """Add an engine that finishes pictures: an ESRGAN-class upscaler, face restoration, background removal."""
    from build_engines.upscale.imported import import_onnx

    check_name(name)
    try:
        folder = import_onnx(source, name, task, repository, version, side)
    except Refused as error:
        raise typer.BadParameter(str(error), param_hint="--source") from None
    typer.echo(f"wrote {folder}")
