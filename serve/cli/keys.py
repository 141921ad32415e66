"""`atelier keys` and `atelier users`: access to the site. They work on the database, whether the stack runs or not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from serve.cli.database import AT_ONCE, ConfigOption, JsonOption, all_of, done, err, me, out, plain, when, with_state
from serve.errors import Conflict, InvalidRequest
from serve.security.identity.authentication import is_key_required
from serve.security.identity.roles import ADMINISTRATOR, ROLES, SCOPES
from serve.settings import Settings

if TYPE_CHECKING:  # slow to import; other commands must not wait for it
    from serve.security.identity.keys import CreatedKey, Key
    from serve.security.identity.users import User
    from serve.state import State

keys = typer.Typer(
    help=f"API keys. Roles: {', '.join(ROLES)}; scopes: {', '.join(SCOPES)}.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
users = typer.Typer(help="Users and their roles.", no_args_is_help=True, rich_markup_mode="markdown")

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="As `atelier users list` shows it.")]


@keys.command("create")
def create_key(
    user: Annotated[
        str | None, typer.Option("--user", "-u", help="Whose it is; of an admin: admin, unless you say.")
    ] = None,
    role: Annotated[
        str | None, typer.Option("--role", "-r", help=f"Makes the user, if there is none: {', '.join(ROLES)}.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", "-s", help="What it may, several times; else all that the role may.")
    ] = None,
    name: Annotated[str, typer.Option("--name", "-n", help="What it is for.")] = "",
    expires: Annotated[str | None, typer.Option("--expires", "-e", help="Such as 12h or 90d; else never.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a key, and print it: this once. What else there is to say goes to stderr.

    The first one: `KEY=$(atelier keys create --role admin)`
    """

    async def do(state: State) -> CreatedKey:
        from serve.security.identity.keys import Keys
        from serve.state.quality import parse_range

        opened = await Keys.open(state)
        whose = user or (ADMINISTRATOR if role == ADMINISTRATOR else None)
        if whose is None:
            raise InvalidRequest("say whose key it is; with --role, too, the user is made", "user_id")
        within = None if expires is None else parse_range(expires)
        return await opened.create(whose, me(), role=role, scopes=scope, name=name, expires_in=within)

    words = {"user_id": "--user", "role": "--role", "scopes": "--scope", "name": "--name", "range": "--expires"}
    made = done(do, config, words)
    if as_json:
        print(json.dumps({**plain(made.key), "role": made.role, "key": made.secret}, indent=2))
        return
    print(made.secret)
    err.print(f"key {made.key.id} of {made.key.user_id} ({made.role}): {', '.join(made.key.scopes)}", soft_wrap=True)
    err.print(f"{_until(made.key)} It cannot be shown again; who has it can use it.", soft_wrap=True)


@keys.command("list")
def list_keys(
    user: Annotated[str | None, typer.Option("--user", "-u", help="Those of one user.")] = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Revoked and expired ones, too.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show keys, without what is secret of them."""

    async def do(state: State) -> list[Key]:
        from serve.security.identity.keys import Keys

        opened = await Keys.open(state)
        return await all_of(lambda cursor: opened.page(user, cursor, AT_ONCE, active=not everything))

    found = done(do, config, {"user_id": "--user"})
    if as_json:
        print(json.dumps([{**plain(key), "status": key.status} for key in found], indent=2))
        return
    table = Table(Column("id", no_wrap=True), "user", "name", "scopes", "made", "expires", "used", "status")
    for key in found:
        cells = [key.id, key.user_id, key.name, " ".join(key.scopes)]
        times = [when(time) for time in (key.created_at, key.expires_at, key.used_at)]
        table.add_row(*map(escape, [*cells, *times, key.status]))
    out.print(table)


@keys.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id, or the first part of the id or of the key.")],
    config: ConfigOption = None,
) -> None:
    """End a key, for good. Doors that are open see it within `access.cache_s` seconds."""

    async def do(state: State) -> Key:
        from serve.security.identity.keys import Keys

        return await (await Keys.open(state)).revoke(key, me())

    found = done(do, config, {"key": "KEY"})
    err.print(f"key {found.id} of {found.user_id} is revoked")


@users.command("list")
def list_users(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show everybody who was ever given a key."""

    async def do(state: State) -> list[User]:
        from serve.security.identity.users import page_of_users

        return await all_of(lambda cursor: page_of_users(state.database, cursor, AT_ONCE))

    found = done(do, config, {})
    if as_json:
        print(json.dumps([plain(user) for user in found], indent=2))
        return
    table = Table("user", "role", "since", "disabled")
    for user in found:
        table.add_row(*map(escape, [user.id, user.role, when(user.created_at), when(user.disabled_at)]))
    out.print(table)


@users.command("role")
def change_role(
    user: UserArgument,
    role: Annotated[str, typer.Argument(metavar="ROLE", help=f"{', '.join(ROLES)}.")],
    config: ConfigOption = None,
) -> None:
    """Give a user another role. Keys that there are get no scope by it; they lose what the role may not."""

    async def do(state: State) -> User:
        from serve.security.identity.users import set_role

        return await set_role(state.database, user, role, me())

    found = done(do, config, {"user_id": "USER", "role": "ROLE"})
    err.print(f"{found.id} has the role {found.role}")


@users.command("disable")
def disable_user(user: UserArgument, config: ConfigOption = None) -> None:
    """Let a user in no more, with whichever key. Doors that are open see it within `access.cache_s` seconds."""
    err.print(f"{_set_disabled(user, True, config).id} is disabled")


@users.command("enable")
def enable_user(user: UserArgument, config: ConfigOption = None) -> None:
    """Let a user in again who was disabled."""
    err.print(f"{_set_disabled(user, False, config).id} is enabled")


def check_ready(settings: Settings) -> None:
    """Raises Conflict where requests need a key and nobody has one, with the command that makes one."""
    if is_key_required(settings) and not asyncio.run(with_state(settings, _has_key)):
        raise Conflict(
            "requests need an API key here (access.required), and there is none yet; "
            "make one: atelier keys create --role admin"
        )


async def _has_key(state: State) -> bool:
    from serve.security.identity.keys import has_usable_key

    return await has_usable_key(state.database)


def _set_disabled(user: str, disabled: bool, config: Path | None) -> User:
    async def do(state: State) -> User:
        from serve.security.identity.users import set_disabled

        return await set_disabled(state.database, user, disabled, me())

    return done(do, config, {"user_id": "USER"})


def _until(key: Key) -> str:
    return "It does not expire." if key.expires_at is None else f"It expires at {when(key.expires_at)} UTC."
