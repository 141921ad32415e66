"""``python -m build_engines illustrate``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.export.parity import ParityError
from build_engines.illustrate.precision import Precision, Target
from build_engines.illustrate.refusal import Refused

if TYPE_CHECKING:
    from build_engines.illustrate.design import AdapterOptions, BuildOptions, Design

SourceOption = Annotated[
    str, typer.Option("--source", help="A folder in diffusers' layout, or an id of the Hugging Face hub (OWNER/NAME).")
]
RevisionOption = Annotated[str | None, typer.Option("--revision", help="A commit, branch or tag of the hub id.")]
NameOption = Annotated[str, typer.Option("--name", help="The family's name: NAME_unet and so on are its engines.")]
TargetOption = Annotated[
    Target,
    typer.Option(
        "--target",
        help="onnx: the faster CPU runtime of two, measured. openvino: that one. tensorrt: plans for this GPU.",
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option("--precision", help="How weights are stored; fp16 halves and int8 (CPU targets) quarters the files."),
]
RepositoryOption = Annotated[Path, typer.Option("--repository", help="Where the engines' folders are written.")]


MaxSideOption = Annotated[
    int | None,
    typer.Option("--max-side", min=64, help="Largest side of a picture in px. A plan reserves memory for it."),
]
MaxBatchOption = Annotated[
    int | None,
    typer.Option("--max-batch", min=2, help="Most rows of a UNet's batch (a guided picture has two). Likewise."),
]
LorasOption = Annotated[bool, typer.Option("--loras", help="Engines that take LoRAs; twice the memory.")]
ControlNetOption = Annotated[
    list[str] | None,
    typer.Option("--controlnet", help="NAME=FOLDER of a ControlNet in diffusers' layout; several times."),
]
IpAdapterOption = Annotated[
    Path | None,
    typer.Option("--ip-adapter", help="The .safetensors file of an IP-Adapter; beside it its image_encoder/."),
]
LazyOption = Annotated[
    bool,
    typer.Option(
        "--lazy-adapters", help="What takes adapters is opened by its first use: a quicker start, less memory."
    ),
]
ImageEncoderOption = Annotated[Path | None, typer.Option("--image-encoder", help="The IP-Adapter's, elsewhere.")]


def illustrate(
    source: SourceOption,
    name: NameOption,
    target: TargetOption = "onnx",
    precision: PrecisionOption = "fp32",
    revision: RevisionOption = None,
    repository: RepositoryOption = MODEL_REPOSITORY,
    max_side: MaxSideOption = None,
    max_batch: MaxBatchOption = None,
    loras: LorasOption = False,
    controlnet: ControlNetOption = None,
    ip_adapter: IpAdapterOption = None,
    image_encoder: ImageEncoderOption = None,
    lazy_adapters: LazyOption = False,
) -> None:
    """Build the engines of a Stable Diffusion 1.5, 2.1 or SDXL checkpoint (turbo and LCM ones too).

    Each is compared with torch; nothing in the repository changes unless all agree.
    """
    console = Console(stderr=True)
    arguments = {
        "source": source,
        "name": name,
        "target": target,
        "precision": precision,
        "revision": revision,
        "max-side": max_side,
        "max-batch": max_batch,
        "loras": loras,
        "controlnet": controlnet,
        "ip-adapter": ip_adapter,
        "image-encoder": image_encoder,
        "lazy-adapters": lazy_adapters,
    }
    try:
        _run(console, arguments, repository)
    except (Refused, ParityError) as error:
        console.print(f"[bold red]Not built:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from error


def _run(console: Console, arguments: dict[str, Any], repository: Path) -> None:
    from build_engines.illustrate.design import BuildOptions, design
    from build_engines.illustrate.source import locate
    from build_engines.illustrate.tensorrt import require_gpu

    options = []
    for key, value in arguments.items():
        for one in value if isinstance(value, list) else [value] if value else []:
            options.append(f"--{key}" if one is True else f"--{key} {shlex.quote(str(one))}")
    command = " ".join(["python -m build_engines illustrate", *options])
    bounds = (arguments["max-side"], arguments["max-batch"])
    build_options = BuildOptions(
        arguments["name"],
        arguments["target"],
        arguments["precision"],
        repository,
        command,
        *bounds,
        adapters=_adapters(arguments),
    )
    build_options.check()
    if build_options.target == "tensorrt":
        require_gpu(command)
    with console.status(f"Finding {escape(arguments['source'])}"):
        found = locate(arguments["source"], arguments["revision"])
        plan = design(build_options, found)
    for note in plan.notes:
        console.print(f"Note: {escape(note)}", soft_wrap=True, highlight=False)
    _build(console, build_options, plan)


def _adapters(arguments: dict[str, Any]) -> AdapterOptions:
    """Raises Refused."""
    from build_engines.illustrate.design import AdapterOptions

    pairs = [one.partition("=") for one in arguments["controlnet"] or ()]
    weights, encoder = arguments["ip-adapter"], arguments["image-encoder"]
    if encoder is not None and weights is None:
        raise Refused("--image-encoder is an IP-Adapter's: name that with --ip-adapter")
    return AdapterOptions(
        arguments["loras"],
        tuple((name, Path(folder)) for name, _, folder in pairs),
        None if weights is None else (weights, encoder or weights.parent / "image_encoder"),
        arguments["lazy-adapters"],
    )


def _build(console: Console, build_options: BuildOptions, plan: Design) -> None:
    """Builds behind a progress bar; each engine passes the four stages."""
    from build_engines.illustrate.build import STAGES, build

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(plan.engines) * len(STAGES))
        entered = 0

        def report(engine: str, stage: str) -> None:
            nonlocal entered
            progress.update(task, completed=entered, description=f"{engine}: {stage}")
            entered += 1

        folders = build(build_options, plan, report)
        progress.update(task, completed=entered, description="done")
    console.print(_summary(folders))
    if build_options.target == "tensorrt":
        console.print(_gpu_memory(folders))
    console.print(f"in {escape(str(build_options.repository))}", soft_wrap=True, highlight=False)


def _gpu_memory(folders: list[Path]) -> str:
    """Of one replica, without the CUDA context and Triton's own pools."""
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in folders]
    weights = sum(manifest["bytes"] for manifest in manifests)
    activations = sum(manifest["plan"]["activation_bytes"] for manifest in manifests)
    return f"GPU memory of a replica: {weights / 1e9:.1f} GB of plans and {activations / 1e9:.1f} GB of activations"


def _summary(folders: list[Path]) -> Table:
    table = Table("engine", "MB", "runtime", "largest error", "RMS error", box=None)
    for folder in folders:
        manifest = json.loads((folder / "manifest.json").read_text())
        parity = manifest["parity"]
        table.add_row(
            manifest["name"],
            f"{manifest['bytes'] / 1e6:.1f}",
            manifest["backend_benchmark"]["chosen"],
            f"{parity['max_abs_error']:.2g}",
            f"{parity['relative_rms_error']:.2g}",
        )
    return table
