"""``python -m build_engines embed``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.export.parity import ParityError
from build_engines.illustrate.refusal import Refused
from build_engines.options import Repository, StoredAs, Version, check_name


def embed(
    source: Annotated[Path, typer.Option("--source", help="A folder of transformers: a CLIPModel or SiglipModel.")],
    name: Annotated[str, typer.Option("--name", help="NAME_picture and NAME_text are its engines.")] = "clip",
    precision: StoredAs = "fp32",
    repository: Repository = MODEL_REPOSITORY,
    version: Version = "1",
) -> None:
    """Build the pair of engines for search by likeness and ranking from a CLIP- or SigLIP-class checkpoint.

    Each is compared with torch; nothing in the repository changes unless both agree. illustrator.search_engines and
    illustrator.ranking_engines name the pair that serving uses.
    """
    from build_engines.embed.checkpoint import load
    from build_engines.embed.engine import write_engines

    check_name(name)
    command = f"python -m build_engines embed --source {shlex.quote(str(source))} --name {name}"
    try:
        if not source.is_dir():
            raise Refused("--source is no folder; of a hub's repository: hf download OWNER/NAME --local-dir FOLDER")
        loaded = load(source)
        folders = write_engines(loaded, name, {"command": command}, repository, version, precision)
    except (Refused, ParityError) as error:
        typer.echo(f"Not built: {error}", err=True)
        raise typer.Exit(1) from error
    for folder in folders:
        typer.echo(f"wrote {folder}")
    typer.echo(f"serve with ATELIER_ILLUSTRATOR__SEARCH_ENGINES={name} ATELIER_ILLUSTRATOR__RANKING_ENGINES={name}")
