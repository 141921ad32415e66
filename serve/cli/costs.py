"""`atelier costs`: costs of requests by user, model or day."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Column, Table

from serve.cli.database import ConfigOption, JsonOption, done, out
from serve.settings import load

if TYPE_CHECKING:
    from serve.state import State
    from serve.state.quality import Cost


def costs(
    by: Annotated[Literal["user", "model", "day"], typer.Option("--by", "-b", help="What one row is of.")] = "user",
    since: Annotated[str, typer.Option(help="How far back: 90m, 24h or 30d.")] = "30d",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what requests cost: processor and GPU seconds, and money where `prices` has any."""

    async def do(state: State) -> Sequence[Cost]:
        from serve.state.quality import costs as sums
        from serve.state.quality import parse_range
        from serve.state.tables import utc_now

        return await sums(state.database, by, utc_now() - parse_range(since), state.settings.prices)

    found = done(do, config, {"range": "--since"})
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2))
        return
    right = [Column(name, justify="right") for name in ("requests", "CPU s", "GPU s", load(config).prices.currency)]
    table = Table(by, *right)
    for one in found:
        money = "" if one.money is None else f"{one.money:.4f}"
        numbers = (str(one.requests), f"{one.cpu_seconds:.2f}", f"{one.gpu_seconds:.2f}", money)
        table.add_row(escape(one.of or "none"), *numbers)
    out.print(table)
