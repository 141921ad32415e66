"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from build_engines.illustrate.precision import Precision

Repository = Annotated[Path, typer.Option("--repository", help="Where the engines' folders are written.")]
Version = Annotated[str, typer.Option("--version", help="The version that the manifests state.")]
StoredAs = Annotated[Precision, typer.Option("--precision", help="How weights are stored.")]


def check_name(name: str) -> None:
    """Of engines, as ``--name`` has it. Raises BadParameter."""
    if not name.isidentifier() or name != name.lower():
        raise typer.BadParameter("must be lower case, digits and underscores", param_hint="--name")
