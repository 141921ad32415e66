"""Shared parts of commands on the site's database, which work whether the stack runs or not."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pwd
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console

from serve.errors import AtelierError, Conflict, InvalidRequest, NotFound, rename_fields
from serve.settings import PREFIX, Settings, load

if TYPE_CHECKING:  # slow to import; other commands must not wait for it
    from serve.security.identity.audit import Actor
    from serve.state import State

T = TypeVar("T")
AT_ONCE = 200

err = Console(stderr=True, highlight=False)
out = Console(highlight=False)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Settings as YAML, or a Ray Serve config; or the name of one of Atelier's own: laptop, gpu, cluster.",
        dir_okay=False,
    ),
]


def _use_data_folder(folder: Path | None) -> Path | None:
    """Set the variable, for child processes too."""
    if folder is not None:
        os.environ[f"{PREFIX}STATE_DIR"] = str(folder.resolve())
    return folder


DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Folder for state, instead of `state_dir`.", file_okay=False, callback=_use_data_folder
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


def done(do: Callable[[State], Awaitable[T]], config: Path | None, words: dict[str, str]) -> T:
    """The result of ``do``. An error is printed as one line, with its field in the command's ``words``, and exits."""
    with exit_on_error(), rename_fields(words):
        return asyncio.run(with_state(load(config), do))


async def with_state(settings: Settings, do: Callable[[State], Awaitable[T]]) -> T:
    from serve.state import State

    state = await State.open(settings)
    try:
        return await do(state)
    finally:
        await state.close()


async def all_of(page: Callable[[str | None], Awaitable[Any]]) -> list[Any]:
    found: list[Any] = []
    cursor: str | None = None
    while True:
        some = await page(cursor)
        found += some.items
        cursor = some.next_cursor
        if cursor is None:
            return found


def fail(reason: object, code: int = 1) -> NoReturn:
    """Print an error as one line, and exit with ``code``."""
    err.print("[red]error:[/] ", end="")
    err.print(str(reason), markup=False, soft_wrap=True)
    raise typer.Exit(code) from None


@contextlib.contextmanager
def exit_on_error() -> Iterator[None]:
    """Exit code 2 for what the user can correct, else 1."""
    try:
        yield
    except (AtelierError, OSError) as error:
        fail(error, 2 if isinstance(error, InvalidRequest | NotFound | Conflict) else 1)


def me() -> Actor:
    """The actor of the audit log: access to the database needs no key."""
    from serve.security.identity.audit import Actor

    try:
        account = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # no passwd entry, as in some containers
        account = str(os.getuid())
    return Actor(address=f"command line of {account}")


def plain(row: Any) -> dict[str, Any]:
    values = dataclasses.asdict(row)
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def when(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d %H:%M}"
