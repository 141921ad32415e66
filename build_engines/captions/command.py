"""``python -m build_engines caption``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.export.parity import ParityError
from build_engines.illustrate.refusal import Refused
from build_engines.options import Repository, StoredAs, Version, check_name


def caption(
    source: Annotated[Path, typer.Option("--source", help="A folder of transformers: a BlipForConditionalGeneration.")],
    name: Annotated[str, typer.Option("--name", help="NAME_picture and NAME_decoder are its engines.")] = "blip",
    precision: StoredAs = "fp32",
    repository: Repository = MODEL_REPOSITORY,
    version: Version = "1",
) -> None:
    """Build the engines that caption pictures from a BLIP-class checkpoint; several may be there under several names.

    Each is compared with torch; nothing in the repository changes unless both agree.
    """
    from build_engines.captions.checkpoint import load
    from build_engines.captions.engine import write_engines

    check_name(name)
    command = f"python -m build_engines caption --source {shlex.quote(str(source))} --name {name}"
    try:
        if not source.is_dir():
            raise Refused("--source is no folder; of a hub's repository: hf download OWNER/NAME --local-dir FOLDER")
        folders = write_engines(load(source), name, {"command": command}, repository, version, precision)
    except (Refused, ParityError) as error:
        typer.echo(f"Not built: {error}", err=True)
        raise typer.Exit(1) from error
    for folder in folders:
        typer.echo(f"wrote {folder}")
