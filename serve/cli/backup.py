"""`atelier backup` and `atelier restore`: the complete state of a site as one file (C-131)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from serve.cli.database import ConfigOption, err, exit_on_error, out, with_state
from serve.cluster import stack
from serve.errors import Conflict, rename_fields
from serve.settings import load

if TYPE_CHECKING:  # slow to import; other commands must not wait for it
    from serve.jobs.backup_restore import Restored
    from serve.state.backups.format import ProgressCallback

INCOMPLETE = 4
"""Exit code of a backup that lacks some unreadable pictures."""
_SHOWN = 5


def backup(
    to: Annotated[
        str | None,
        typer.Option(
            "--to", help="A .tar file, a folder or an object URL (s3://...); else backup.url, else state_dir/backups."
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Write everything that the site knows into one file; the stack may go on meanwhile.

    Exit code 0 when all went well, 1 when it failed, 2 when the question was wrong, 4 when pictures were missing.
    """
    from serve.state.backups.writing import backup as make

    with exit_on_error():
        settings = load(config)
        target = to or settings.backup.url or str(settings.state_dir / "backups")
        with rename_fields({"target": "--to" if to else "backup.url"}), _progress() as report:
            made = asyncio.run(with_state(settings, lambda state: make(state, target, report)))
    out.print(made.location, markup=False, soft_wrap=True)
    err.print(f"{made.rows:,} rows, {made.objects:,} objects, {made.bytes:,} bytes")
    if made.missing:
        some = ", ".join(made.missing[:_SHOWN])
        more = len(made.missing) - _SHOWN
        err.print(
            f"[yellow]{len(made.missing)} objects that rows name are missing from the store:[/] {some}"
            f"{f' and {more} more' if more > 0 else ''}. What was deleted meanwhile may be among them.",
            soft_wrap=True,
        )
        raise typer.Exit(INCOMPLETE)


def restore(
    source: Annotated[str, typer.Argument(metavar="FILE_OR_URL", help="What `atelier backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", help="Replace what the database has.")] = False,
    config: ConfigOption = None,
) -> None:
    """Put a backup into an empty database, SQLite or PostgreSQL, whichever it came from; the stack must be down.

    All of the file is checked before anything is changed. Exit code 0 when all went well, 1 when it failed, 2 when the
    question was wrong.
    """
    from serve.jobs.backup_restore import restore as put_back

    with exit_on_error():
        settings = load(config)
        if (there := stack.running_stack(settings)) is not None:
            raise Conflict(f"a stack of these settings is running at {there.url}; stop it first: atelier down")
        with rename_fields({"source": "FILE_OR_URL"}), _progress() as report:
            done = asyncio.run(put_back(settings, source, force, report))
    _tell(done)


def _tell(done: Restored) -> None:
    err.print(f"restored what there was at {done.created_at:%Y-%m-%d %H:%M:%S %Z}")
    err.print(f"{done.rows:,} rows, {done.objects:,} objects")
    if done.missing:
        err.print(f"[yellow]{done.missing} objects were missing already when the backup was made[/]")


@contextlib.contextmanager
def _progress() -> Iterator[ProgressCallback]:
    """A progress bar on a terminal, one per phase."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}"))
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                for task in tasks.values():
                    bar.update(task, visible=False)
                tasks[what] = bar.add_task(what, total=None)
            bar.update(tasks[what], completed=done, total=total)

        yield report
