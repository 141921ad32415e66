"""``python -m build_engines``: from icon packages to trained engines in ``model_repository``."""

from __future__ import annotations

import collections
import time
from pathlib import Path
from typing import Annotated

import typer

from build_engines import data
from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.illustrate.command import illustrate
from build_engines.presets import PRESETS

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Build the learned engines. Stages: data, labels, train; `all` runs the three. Everything slow is cached "
    "under var/ and resumed; seeds are fixed.",
)

app.command()(illustrate)

PresetName = Annotated[
    str, typer.Option("--preset", help="quick: minutes, to see that all works. full: what is committed, under an hour.")
]
Processes = Annotated[int, typer.Option("--processes", min=1, help="Worker processes for rendering and tracing.")]
Repository = Annotated[Path, typer.Option("--repository", help="Where the engines' folders are written.")]
Version = Annotated[str, typer.Option("--version", help="The version that the manifests state.")]
LabelsTag = Annotated[
    str | None, typer.Option("--labels", help="Train on this folder of var/labels, not on the current tracers' own.")
]


def _preset(name: str) -> str:
    if name not in PRESETS:
        raise typer.BadParameter(f"one of {', '.join(PRESETS)}", param_hint="--preset")
    return name


@app.command("data")
def install() -> None:
    """Install the four icon packages with npm into var/icons, and say what is there."""
    if not data.installed():
        data.install()
    icons = data.load()
    for icon_set in data.ICON_SETS:
        splits = collections.Counter(i.split for i in icons if i.set == icon_set.name)
        counts = ", ".join(f"{n} {split}" for split, n in sorted(splits.items()))
        typer.echo(f"{icon_set.package} {icon_set.version} ({icon_set.license}, {icon_set.author}): {counts}")


@app.command()
def labels(preset: PresetName = "quick", processes: Processes = 2) -> None:
    """Trace sampled pictures under sampled parameters, and measure what comes of it."""
    from build_engines.train.pipeline import Run, make_labels

    make_labels(Run(PRESETS[_preset(preset)], processes))


@app.command()
def train(
    preset: PresetName = "quick",
    processes: Processes = 2,
    repository: Repository = MODEL_REPOSITORY,
    version: Version = "1",
    labels_tag: LabelsTag = None,
) -> None:
    """Train on the labels and write the five engines, each with ONNX, config.pbtxt and manifest.json."""
    from build_engines.train.pipeline import Run, make_engines

    make_engines(Run(PRESETS[_preset(preset)], processes, repository, version, labels_tag=labels_tag))


@app.command("all")
def everything(
    preset: PresetName = "quick",
    processes: Processes = 2,
    repository: Repository = MODEL_REPOSITORY,
    version: Version = "1",
) -> None:
    """The three stages in order."""
    start = time.monotonic()
    install()
    labels(preset, processes)
    train(preset, processes, repository, version)
    typer.echo(f"built in {(time.monotonic() - start) / 60:.1f} minutes")
