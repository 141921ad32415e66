"""`atelier secrets`: encrypted keys of external services in the database. Never as arguments, which others can see."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from pydantic import SecretStr
from rich.table import Table

from serve.cli.database import ConfigOption, JsonOption, done, err, me, out
from serve.errors import InvalidRequest

if TYPE_CHECKING:
    from serve.security.signing.secret_store import SecretStore

T = TypeVar("T")

_LONGEST = 16_384
"""Maximum characters read; `serve.security.signing.secret_store` accepts no more."""

secrets = typer.Typer(help="Keys of outside services, sealed in the database.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As `secret` of a fallback step names it.")]


@secrets.command("set")
def set_secret(name: NameArgument, config: ConfigOption = None) -> None:
    """Keep what stdin has, or what you type, as NAME."""
    _done(lambda store: store.set(name, _read(name), me()), config, {"name": "NAME", "secret": "stdin"})
    err.print(f"{name} is kept", markup=False)


@secrets.command("list")
def list_secrets(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show what is kept, without the keys themselves."""
    found = _done(lambda store: store.list(), config, {})
    if as_json:
        print(json.dumps([{"name": one.name, "updated_at": one.updated_at.isoformat()} for one in found], indent=2))
        return
    table = Table("name", "set")
    for one in found:
        table.add_row(one.name, f"{one.updated_at:%Y-%m-%d %H:%M}")
    out.print(table)


@secrets.command("reseal")
def reseal_secrets(config: ConfigOption = None) -> None:
    """Seal all with the newest of `secrets.keys`: older ones are not needed for them any more."""
    err.print(f"{_done(lambda store: store.reseal(me()), config, {})} sealed with the newest secret", markup=False)


@secrets.command("remove")
def remove_secret(name: NameArgument, config: ConfigOption = None) -> None:
    """Forget a key."""
    _done(lambda store: store.remove(name, me()), config, {"name": "NAME"})
    err.print(f"{name} is removed", markup=False)


def _done(do: Callable[[SecretStore], Awaitable[T]], config: Path | None, words: dict[str, str]) -> T:
    """As `done`, of the site's secrets."""
    from serve.security.signing.secret_store import SecretStore

    return done(lambda state: do(SecretStore(state)), config, words)


def _read(name: str) -> SecretStr:
    """Raises InvalidRequest for empty or too long input."""
    given = getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.read(_LONGEST + 2)
    secret = given.strip()
    if not secret or len(secret) > _LONGEST or not secret.isprintable() or not secret.isascii():
        raise InvalidRequest(f"must have a key: one line of up to {_LONGEST} printable ASCII characters", "secret")
    return SecretStr(secret)
