"""``python -m build_engines``: from icon packages to trained engines in ``model_repository``."""

from __future__ import annotations

import collections
import time
from pathlib import Path
from typing import Annotated

import typer

from build_engines import data
from build_engines.captions.command import caption
from build_engines.data.icons import VAR
from build_engines.director.command import director
from build_engines.embed.command import embed
from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.illustrate.command import illustrate
from build_engines.options import Repository, Version
from build_engines.presets import PRESETS
from build_engines.retraining import retrain
from build_engines.search.command import train_search
from build_engines.style.command import train_style
from build_engines.text.command import text, train_text
from build_engines.upscale.command import finish, train_upscalers
from build_engines.vgg.command import vgg

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Build the learned engines. Stages: data, labels, train; `all` runs the three. Everything slow is cached "
    "under var/ and resumed; seeds are fixed.",
)

app.command()(illustrate)
app.command()(finish)
app.command()(embed)
app.command()(caption)
app.command()(text)
app.command()(director)
app.command()(retrain)
app.command()(vgg)

FAMILIES = ("vector", "mini", "adapters", "upscaler", "style", "search", "text")
MINI_CHECKPOINT = VAR / "mini" / "checkpoint"

PresetName = Annotated[
    str, typer.Option("--preset", help="quick: minutes, to see that all works. full: what is committed, under an hour.")
]
Processes = Annotated[int, typer.Option("--processes", min=1, help="Worker processes for rendering and tracing.")]
LabelsTag = Annotated[
    str | None, typer.Option("--labels", help="Train on this folder of var/labels, not on the current tracers' own.")
]
Family = Annotated[
    str,
    typer.Argument(
        help="vector: the engines of image to SVG. mini: the illustration family. adapters: its ControlNet, IP-Adapter "
        "and LoRAs. upscaler: x2 and x4. style: those of style transfer. search: those of search by likeness. "
        "text: that of prompts."
    ),
]
MiniFolder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        help="mini: keeps data, weights and samples; var/mini, or var/mini/rgba for its successor; search too. "
        "text: keeps npm packages.",
    ),
]


def _preset(name: str) -> str:
    if name not in PRESETS:
        raise typer.BadParameter(f"one of {', '.join(PRESETS)}", param_hint="--preset")
    return name


def _family(name: str) -> str:
    if name not in FAMILIES:
        raise typer.BadParameter(f"one of {', '.join(FAMILIES)}", param_hint="FAMILY")
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
    family: Family = "vector",
    preset: Annotated[str | None, typer.Option("--preset", help="vector: quick|full. mini: cpu|gpu|rgba.")] = None,
    processes: Processes = 2,
    repository: Repository = MODEL_REPOSITORY,
    version: Version = "1",
    labels_tag: LabelsTag = None,
    stages: Annotated[
        list[str] | None,
        typer.Option(
            "--stage",
            help="mini: data, autoencoder, latents, unet (rgba: denoiser; these four when none is named), decoder, "
            "rgba: judge, keep. "
            "May be repeated.",
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0, help="mini, adapters, upscaler, style, search: the limit.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="mini: CPU threads; as many as are free.")] = 1,
    compiled: Annotated[
        bool, typer.Option("--compile", help="mini: compile the UNet first, for two minutes; needs a C++ compiler.")
    ] = False,
    folder: MiniFolder = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            min=1,
            help="mini, rgba: pictures of the denoiser in all; the learning rate falls to 2 % over the last 30 % of "
            "them. A later run with more goes on.",
        ),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", help="adapters: canny, ip, lora, or one LoRA by name; all in turn. May be repeated."),
    ] = None,
) -> None:
    """Train what the engines are made of.

    vector: trains on the labels and writes the five engines, each with ONNX, config.pbtxt and manifest.json.
    mini: trains the illustration family into var/mini/checkpoint (a diffusers folder). It can be stopped at any time
    by SIGTERM or Ctrl-C, and the same command goes on where it stopped. The preset rgba trains pictogram, which draws
    on a transparent ground.
    adapters: trains adapters of the family in --repository into var/mini/adapters, until they are finished or --minutes
    are over; the same command goes on where it stopped.
    upscaler: trains upscale_2x and upscale_4x on icons, --minutes each (12), and writes their engines; --stage train
    or engine.
    style: trains the network of style transfer for --minutes of processor time (8), and writes style_encoder and
    style_painter, and the pictures of the styles; --stage train, engine or originals.
    search: trains the two encoders of search by likeness for --minutes of processor time (5) on the data of the preset
    rgba in --folder, and writes search_picture and search_text; --stage train or engine.
    text: reduces and aligns word vectors of npm packages (in --folder), fits what judges prompts on the labelled ones,
    and writes prompt_text.
    """
    if _family(family) == "mini":
        from build_engines.mini.commands import train_mini

        return train_mini(preset or "cpu", stages or [], minutes, threads, compiled, folder, repository, samples)
    if family == "adapters":
        from build_engines.mini.adapters.command import train_adapters

        return train_adapters(kinds or [], minutes, threads, repository, folder)
    if family == "upscaler":
        return train_upscalers(minutes, threads, repository, version, stages or [])
    if family == "style":
        return train_style(minutes, threads, repository, version, stages or [])
    if family == "text":
        return train_text(folder, repository, version)
    if family == "search":
        return train_search(folder or VAR / "mini" / "rgba", minutes, threads, repository, version, stages or [])
    from build_engines.train.pipeline import Run, make_engines

    make_engines(Run(PRESETS[_preset(preset or "quick")], processes, repository, version, labels_tag=labels_tag))


@app.command()
def evaluate(
    family: Annotated[
        str,
        typer.Argument(
            help="mini: a checkpoint of the starter families. pictogram: its engines. adapters: those of mini."
        ),
    ] = "mini",
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="A diffusers folder.")] = MINI_CHECKPOINT,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads; as many as are free.")] = 1,
    repository: Annotated[Path, typer.Option("--repository", help="Where its engines are, if any.")] = MODEL_REPOSITORY,
) -> None:
    """Draw 260 captions and print how often a judge of real icons finds the right one; also two contact sheets.

    pictogram: contact sheets of sixty prompts, drawn by its engines, through to SVG, and by mini. adapters: three of
    mini's ControlNet, references and LoRAs, drawn by its engines.
    """
    if family == "pictogram":
        from build_engines.mini import sheets

        return sheets.draw_sheets(repository)
    if family == "adapters":
        from build_engines.mini.adapters import command

        return command.draw_sheets(repository)
    if family != "mini":
        raise typer.BadParameter("one of mini, pictogram and adapters is evaluated by drawing", param_hint="FAMILY")
    from build_engines.mini.commands import evaluate_mini

    evaluate_mini(checkpoint, threads, repository)


@app.command()
def compare(
    family: Annotated[str, typer.Argument(help="mini: the illustration family.")] = "mini",
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="CPU time of each experiment.")] = 300.0,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads; as many as are free.")] = 1,
    folder: MiniFolder = None,
    words: Annotated[list[str] | None, typer.Option("--only", help="Experiments whose names have the word.")] = None,
) -> None:
    """Train each candidate for an equal CPU time, keep the results in compare.csv and print them as a table."""
    if family != "mini":
        raise typer.BadParameter("only mini has experiments", param_hint="FAMILY")
    from build_engines.mini.commands import compare_mini

    compare_mini(folder, seconds, threads, words or [])


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
    train("vector", preset, processes, repository, version)
    typer.echo(f"built in {(time.monotonic() - start) / 60:.1f} minutes")
