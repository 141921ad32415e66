"""`atelier profile`: an engine's time by batch size on this machine, and the resulting batch cap."""

from __future__ import annotations

import asyncio
import os
import platform
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from serve.cli.database import err, fail, out
from serve.ensembles.batch_profile import SIZES, Profile, profile, store
from serve.errors import AtelierError
from serve.settings import load


def profile_engine(
    engine: Annotated[str, typer.Argument(help="An engine of the model repository, such as NAME_unet.")],
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="How long each batch size is measured.")] = 2.0,
    largest: Annotated[int, typer.Option(min=2, max=256, help="The largest batch that is tried.")] = SIZES[-1],
    keep: Annotated[
        bool, typer.Option("--keep/--dry-run", help="Whether the engine's config takes the cap that was found.")
    ] = True,
    device: Annotated[str, typer.Option(help="What the profile calls this device; none: the CPU's name.")] = "",
    repository: Annotated[
        Path | None, typer.Option(help="The model repository; none: the one in the settings.", file_okay=False)
    ] = None,
) -> None:
    """Measure ENGINE at growing batch sizes and store the curve and the batch cap with it.

    Run it where the engine will serve, while nothing else runs; a stack that is up takes the cap when it starts anew.
    """
    from serve.cli.machine.preparation import writable_repository

    try:
        own = load().illustrator
        where = repository or own.model_repository
        if keep:
            writable_repository(where)
        sizes = _powers(largest)
        with Progress(console=err, transient=True) as progress:
            task = progress.add_task(engine, total=len(sizes))
            measuring = profile(
                where,
                engine,
                device or _cpu(),
                sizes=sizes,
                seconds=seconds,
                report=lambda size, ms: progress.update(task, advance=1, description=f"batch {size}: {ms:.1f} ms"),
                tritonserver=own.tritonserver,
            )
            found = asyncio.run(measuring)
        if keep:
            store(where, found)
    except AtelierError as error:
        fail(error)
    out.print(_table(found))
    what = "is in its config now" if keep else "would be put in its config without --dry-run"
    gain = f"{found.gain:.2f} times the throughput of batch 1"
    out.print(f"Batch cap {found.max_batch_size} ({gain}) {what}.", soft_wrap=True)


def _powers(largest: int) -> list[int]:
    """Powers of two up to ``largest``."""
    return [2**exponent for exponent in range(largest.bit_length())]


def _cpu() -> str:
    """The processor's name and the number of usable cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def _table(found: Profile) -> Table:
    table = Table("batch", "ms", "rows/s", box=None)
    for size, ms in found.milliseconds.items():
        mark = " (the cap)" if size == found.max_batch_size else ""
        table.add_row(f"{size}{mark}", f"{ms:.2f}", f"{size / ms * 1e3:.1f}")
    return table
