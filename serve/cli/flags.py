"""`atelier flags`: feature flags, and their value for a user."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from serve.cli.database import ConfigOption, JsonOption, done, out

if TYPE_CHECKING:
    from serve.releases.flags.flag import Flag
    from serve.state import State

flags = typer.Typer(help="Feature flags; PUT /api/admin/flags/NAME changes them.", no_args_is_help=True)


@flags.command("list")
def list_flags(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show every flag as it is now."""

    async def do(state: State) -> list[Flag]:
        from serve.releases.flags.store import Flags

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
        from serve.releases.flags.flag import is_on, share
        from serve.releases.flags.store import Flags

        flag = await Flags(state.settings.flags, state.database).get(name)
        bucket = 100.0 * share(name, user)
        return {**_plain(flag), "user": user, "bucket": round(bucket, 4), "on": is_on(flag, user)}

    told = done(do, config, {"name": "NAME"})
    if as_json:
        print(json.dumps(told, indent=2))
        return
    if not told["enabled"]:
        why = "the flag is off"
    elif user in told["users"]:
        why = "the user is named"
    else:
        why = f"the user's bucket is {told['bucket']:g}, and buckets below {told['percentage']:g} have it"
    out.print(f"{name} is {'on' if told['on'] else 'off'} for {user}: {why}", markup=False, soft_wrap=True)


def _plain(flag: Flag) -> dict[str, Any]:
    return {
        "name": flag.name, "enabled": flag.enabled, "percentage": flag.percentage, "users": sorted(flag.users),
    }  # fmt: skip
