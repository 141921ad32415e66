"""`atelier experiments`: reports of A/B experiments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from serve.cli.database import ConfigOption, JsonOption, done, out

if TYPE_CHECKING:
    from serve.releases.experiments.intervals import Estimate
    from serve.releases.experiments.report import ExperimentReport
    from serve.state import State

experiments = typer.Typer(help="A/B tests between models or options.", no_args_is_help=True)


@experiments.callback()
def _group() -> None:
    """Makes `report` a subcommand."""


@experiments.command("report")
def report(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As the settings name it.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Compare the arms: conversions, errors, ratings, quality, time, with 95 % confidence intervals."""

    async def do(state: State) -> ExperimentReport:
        from serve.releases.experiments.report import report_of

        return await report_of(state.database, name, state.settings.experiments)

    found = done(do, config, {"name": "NAME"})
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
        return
    names = list(found.arms[0].metrics)
    table = Table("arm", "users", "units", "generations", *(metric.replace("_", " ") for metric in names))
    for arm in found.arms:
        counts = map(str, (arm.users, arm.units, arm.generations))
        table.add_row(arm.arm, *counts, *(_told(arm.metrics[metric]) for metric in names))
    if found.difference is not None:
        first, second = found.arms
        table.add_row(f"{second.arm} - {first.arm}", "", "", "", *(_told(found.difference[name]) for name in names))
    out.print(table)
    if found.note is not None:
        out.print(found.note, markup=False, soft_wrap=True)


def _told(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    if estimate.low is None:
        return f"{estimate.value:.3g}"
    return f"{estimate.value:.3g}\n{estimate.low:.3g} to {estimate.high:.3g}"
