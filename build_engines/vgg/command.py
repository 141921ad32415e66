"""``python -m build_engines vgg``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.export.parity import ParityError
from build_engines.illustrate.refusal import Refused
from build_engines.options import Repository, StoredAs, Version, check_name


def vgg(
    source: Annotated[
        Path, typer.Option("--source", help="A VGG of torchvision or timm: a safetensors file, or a folder with one.")
    ],
    name: Annotated[str, typer.Option("--name", help="NAME_describe and NAME_gradient are its engines.")] = "vgg",
    precision: StoredAs = "fp32",
    repository: Repository = MODEL_REPOSITORY,
    version: Version = "1",
) -> None:
    """Build the engines of style transfer by optimisation from a VGG-class checkpoint (vgg16, vgg19, ...).

    Both are compared with torch; nothing in the repository changes unless both agree.
    """
    from build_engines.vgg.checkpoint import read
    from build_engines.vgg.engine import write_engines
    from build_engines.vgg.network import Features

    check_name(name)
    facts: dict[str, Any] = {
        "command": f"python -m build_engines vgg --source {shlex.quote(source.name)} --name {name}"
    }
    try:
        folders = write_engines(Features(read(source)), name, facts, repository, version, precision)
    except (Refused, ParityError) as error:
        typer.echo(f"Not built: {error}", err=True)
        raise typer.Exit(1) from error
    for folder in folders:
        typer.echo(f"wrote {folder}")
