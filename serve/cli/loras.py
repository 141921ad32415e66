"""`atelier loras`: the LoRAs of the site. They work on the database, whether the stack runs or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from serve.cli.database import ConfigOption, JsonOption, done, err, out, plain, when
from serve.errors import TooLarge

if TYPE_CHECKING:  # slow to import; other commands must not wait for it
    from serve.state import State
    from serve.state.loras import StoredLora

loras = typer.Typer(help="LoRAs, which pictures are drawn with from the next request on.", no_args_is_help=True)

OWNER = "command-line"
"""Who added a LoRA by command: no user, so that admins alone remove it over HTTP."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `atelier loras list` shows it.")]


@loras.command("add")
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .safetensors file.", exists=True, dir_okay=False)],
    name: Annotated[str | None, typer.Option(help="What requests call it; that of the file, unless you say.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Add a LoRA of diffusers, PEFT or kohya's scripts, for Stable Diffusion 1.5, 2.1 or SDXL."""

    async def do(state: State) -> StoredLora:
        from serve.ensembles.illustrator.adapters import read_lora
        from serve.ensembles.illustrator.families import families_of
        from serve.state.loras import LoraStore

        limit = state.settings.loras.max_bytes
        if file.stat().st_size > limit:
            raise TooLarge(f"has more than {limit} bytes (loras.max_bytes)", "file")
        data = file.read_bytes()
        found = read_lora(data, families_of(state.settings.illustrator))
        store = LoraStore(state)
        return await store.add(name or file.stem, data, found.families, found.parts, found.rank, found.layers, OWNER)

    made = done(do, config, {"file": "FILE", "name": "--name"})
    if as_json:
        print(json.dumps(plain(made)))
        return
    what = f"rank {made.rank}, {made.layers} layers of {', '.join(made.parts)}, for {', '.join(made.families)}"
    err.print(f"{made.name}  {what}", markup=False, soft_wrap=True)


@loras.command("list")
def list_loras(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show the LoRAs of the site."""

    async def do(state: State) -> list[StoredLora]:
        from serve.state.loras import LoraStore

        return await LoraStore(state).all()

    found = done(do, config, {})
    if as_json:
        print(json.dumps([plain(one) for one in found], indent=2))
        return
    table = Table("name", "for", "rank", "layers", "MB", "since")
    for one in found:
        cells = [one.name, ", ".join(one.families), str(one.rank), str(one.layers), f"{one.bytes / 1e6:.1f}"]
        table.add_row(*map(escape, [*cells, when(one.created_at)]))
    out.print(table)


@loras.command("show")
def show(name: Name, config: ConfigOption = None) -> None:
    """Show what is known of a LoRA, as JSON."""

    async def do(state: State) -> StoredLora:
        from serve.state.loras import LoraStore

        return await LoraStore(state).get(name)

    print(json.dumps(plain(done(do, config, {"name": "NAME"})), indent=2))


@loras.command("remove")
def remove(name: Name, config: ConfigOption = None) -> None:
    """Remove a LoRA. Pictures under way keep it."""

    async def do(state: State) -> None:
        from serve.state.loras import LoraStore

        await LoraStore(state).remove(name)

    done(do, config, {"name": "NAME"})
    err.print(f"{name} is removed", markup=False)
