"""`atelier flags` and `atelier experiments`: feature flags, their value for a user, and reports of A/B experiments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from serve.cli.database import ConfigOption, JsonOption, done, out

if TYPE_CHECKING:
    from serve.releases.experiments.intervals import Estimate
    from serve.releases.experiments.report import ExperimentReport
    from serve.releases.flags import Flag
    from serve.state import State

flags = typer.Typer(help="Feature flags; PUT /api/admin/flags/NAME changes them.", no_args_is_help=True)


@flags.command("list")
def list_flags(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show every flag as it is now."""

    async def do(state: State) -> list[Flag]:
        from serve.releases.flags import Flags

        return list((await Flags(state.settings.flags, state.database).read()).values())

    found = done(do, config, {})
    if as_json:
        print(json.dumps([_plain(flag) for flag in found], indent=2))
        return
    table = Table("flag", "enabled", "percentage", "users")
    for flag in found:
        users = ", ".join(sorted(flag.users))
        table.add_row(flag.name, "yes" if flag.enabled else "no", f"{flag.percentage:g}", escape(users))
    out.print(table)


@flags.command("explain")
def explain(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    user: Annotated[str, typer.Option("--user", "-u", help="Of whom.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say whether a user has a flag, and why."""

    async def do(state: State) -> dict[str, Any]:
        from serve.releases.flags import Flags, is_on, share

        flag = await Flags(state.settings.flags, state.database).get(name)
        bucket = 100.0 * share(name, user)
        return {**_plain(flag), "user": user, "bucket": round(bucket, 4), "on": is_on(flag, user)}

    flag = done(do, config, {"name": "NAME"})
    if as_json:
        print(json.dumps(flag, indent=2))
        return
    if not flag["enabled"]:
        why = "the flag is off"
    elif user in flag["users"]:
        why = "the user is named"
    else:
        why = f"the user's bucket is {flag['bucket']:g}, and buckets below {flag['percentage']:g} have it"
    out.print(f"{name} is {'on' if flag['on'] else 'off'} for {user}: {why}", markup=False, soft_wrap=True)


def _plain(flag: Flag) -> dict[str, Any]:
    return {
        "name": flag.name, "enabled": flag.enabled, "percentage": flag.percentage, "users": sorted(flag.users),
    }  # fmt: skip


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
        table.add_row(arm.arm, *counts, *(_format_estimate(arm.metrics[metric]) for metric in names))
    if found.difference is not None:
        first, second = found.arms
        table.add_row(
            f"{second.arm} - {first.arm}", "", "", "", *(_format_estimate(found.difference[name]) for name in names)
        )
    out.print(table)
    if found.note is not None:
        out.print(found.note, markup=False, soft_wrap=True)


def _format_estimate(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    if estimate.low is None:
        return f"{estimate.value:.3g}"
    return f"{estimate.value:.3g}\n{estimate.low:.3g} to {estimate.high:.3g}"
