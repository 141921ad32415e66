"""``python -m build_engines director``."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.options import check_name
from serve.engines.gguf_file import BrokenGguf, GgufFacts, check_whole

_CONFIG = """name: "{name}"
backend: "llama"
default_model_filename: "model.gguf"
max_batch_size: 0
model_transaction_policy {{ decoupled: true }}
input [
  {{ name: "request" data_type: TYPE_STRING dims: [ 1 ] }}
]
output [
  {{ name: "text" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "end" data_type: TYPE_STRING dims: [ 1 ] }}
]
instance_group [ {{ count: 1 kind: {kind} }} ]
"""


def director(
    source: Annotated[Path, typer.Option("--source", help="A GGUF file.")],
    name: Annotated[str, typer.Option("--name", help="Of the engine: lower case, digits, underscores.")] = "director",
    context: Annotated[
        int, typer.Option("--context", min=512, help="Tokens of its context, as director.n_ctx.")
    ] = 2048,
    queued: Annotated[int, typer.Option("--queued", min=0, max=10_000, help="Answers that may wait.")] = 16,
    threads: Annotated[int, typer.Option("--threads", min=0, help="CPU threads; 0: the server's budget.")] = 0,
    gpu_layers: Annotated[int, typer.Option("--gpu-layers", min=-1, help="Layers on the GPU; -1: all.")] = 0,
    chat_format: Annotated[str, typer.Option("--chat-format", help="Of llama-cpp-python; the file's if empty.")] = "",
    packages: Annotated[
        Path | None,
        typer.Option("--packages", help="The site-packages folder that has llama-cpp-python, if another."),
    ] = None,
    repository: Annotated[
        Path, typer.Option("--repository", help="Where the engine's folder is written.")
    ] = MODEL_REPOSITORY,
    version: Annotated[str, typer.Option("--version", help="The version that the manifest states.")] = "1",
) -> None:
    """Make an engine of the art director from a GGUF file, for llama.cpp inside the stack; director.engine names it.

    The file is linked where it lies on the same disk, else copied.
    """
    check_name(name)
    try:
        facts = check_whole(source)
    except (BrokenGguf, OSError) as error:
        typer.echo(f"Not built: {source.name}: {error}", err=True)
        raise typer.Exit(1) from error
    parameters: dict[str, int | str] = {
        "n_ctx": context, "max_queued": queued, "threads": threads, "gpu_layers": gpu_layers,
        "chat_format": chat_format, "python_path": "" if packages is None else str(packages.resolve()),
    }  # fmt: skip
    command = f"python -m build_engines director --source {shlex.quote(str(source))} --name {name}"
    folder = write_engine(source, name, facts, parameters, command, repository, version)
    typer.echo(f"wrote {folder}; serve with ATELIER_DIRECTOR__ENGINE={name}")


def write_engine(
    source: Path,
    name: str,
    facts: GgufFacts,
    parameters: dict[str, int | str],
    command: str,
    repository: Path,
    version: str,
) -> Path:
    """The engine's folder, replaced as a whole."""
    staged = repository / f".{name}.staged"
    shutil.rmtree(staged, ignore_errors=True)
    (staged / "1").mkdir(parents=True)
    file = staged / "1" / "model.gguf"
    try:
        os.link(source.resolve(), file)
    except OSError:  # on another disk
        shutil.copyfile(source, file)
    text = _CONFIG.format(name=name, kind="KIND_GPU" if parameters["gpu_layers"] else "KIND_CPU")
    for key, value in parameters.items():
        if value != "":
            text += f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(str(value))} }} }}\n'
    (staged / "config.pbtxt").write_text(text)
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    manifest = {
        "name": name,
        "version": version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "director": {"architecture": facts.architecture, "tensors": facts.tensors},
        "gguf": {key: value for key, value in facts.metadata.items() if key.startswith("general.")},
        "sha256": digest,
        "bytes": facts.bytes,
    }
    (staged / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    folder = repository / name
    shutil.rmtree(folder, ignore_errors=True)
    return staged.rename(folder)
