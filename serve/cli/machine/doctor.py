"""`atelier doctor`: what this machine has and lacks, and the command that brings it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from serve.cli.database import ConfigOption, DataOption, JsonOption, exit_on_error, out
from serve.cluster.nodes import with_addresses
from serve.settings import Settings, load

if TYPE_CHECKING:
    from serve.cli.machine.checks import Check

_COLOURS = {"ok": "green", "missing": "red", "optional": "yellow"}


def doctor(config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Check whether a stack of these settings can start here. Exit code 0 when it can, 1 when something is missing.

    What is `missing` has to be brought first, by the command below it; what is `optional` is only needed for more.
    """
    with exit_on_error():
        made = list(all_checks(with_addresses(load(config))))
    ok = all(check.ok or not check.required for check in made)
    if as_json:
        rows = [{**dataclasses.asdict(check), "status": check.status} for check in made]
        print(json.dumps({"ok": ok, "checks": rows}, indent=2))
    else:
        width = max(len(check.name) for check in made)
        for check in made:
            mark = f"[{_COLOURS[check.status]}]{check.status:<9}[/]"
            out.print(f"{mark} {check.name:<{width}}  {escape(check.detail)}", soft_wrap=True)
            if not check.ok:
                out.print(f"{'':<{width + 12}}{escape(check.remedy)}", soft_wrap=True)
        out.print("A stack can start: atelier up" if ok else "[red]A stack cannot start: bring what is missing[/]")
    raise typer.Exit(0 if ok else 1)


def all_checks(settings: Settings) -> Iterator[Check]:
    from serve.cli.machine import checks, software  # libraries that take a while to load

    yield software.python()
    yield from software.packages()
    yield from software.programs(settings)
    yield from checks.engines(settings, checksums=True)
    yield checks.data_folder(settings)
    yield from checks.ports(settings)
    yield from checks.resources(settings)
    yield from checks.gpu(settings)
    yield from software.extras(settings)
