"""The queue, the gallery and the cache on SQLite and on PostgreSQL: ``python -m loadtests.benchmarks.queue``.

The databases are its own: SQLite in a temporary folder, PostgreSQL started from Debian's package with fsync, or new
databases on the server that ``--postgresql`` names, dropped at the end. What goes through the whole stack starts one on
free ports for each database. Callers run on the same machine, so their own work is part of what is measured. Compare
ratios to the peers of the same run: machines differ, and one machine from hour to hour.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtests.load.stack import running
from loadtests.queue import cached, checkpoints, claims, delays, endpoints, gallery, library
from loadtests.queue.callers import Pace
from loadtests.queue.databases import KINDS, Databases, all_of, settings_at, told_by_environment
from loadtests.queue.report import errors_of, table
from loadtests.vectorize.measure import ROOT
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.settings import Settings

LIBRARY, CLAIMS, GALLERY, CHECKPOINTS = "library", "claims", "gallery", "checkpoints"
DOORS, CACHED, DELAYS = "doors", "cached", "delays"
THROUGH_THE_STACK = (DOORS, CACHED, DELAYS)
NAMES = (LIBRARY, CLAIMS, GALLERY, CHECKPOINTS, *THROUGH_THE_STACK)
TITLES = {
    LIBRARY: "at the library, 50 callers, 10,000 jobs waiting",
    GALLERY: "gallery, 25,000 generations of one user among 50,000",
    DOORS: "through the whole stack, 50 callers, 10,000 jobs waiting",
    CACHED: "cached answers through the whole stack",
    DELAYS: "delay of events through the whole stack",
}


@dataclass(frozen=True)
class Plans:
    """How much of each is done."""

    library: library.Plan = field(default_factory=library.Plan)
    claims: claims.Plan = field(default_factory=claims.Plan)
    gallery: gallery.Plan = field(default_factory=gallery.Plan)
    checkpoints: checkpoints.Plan = field(default_factory=checkpoints.Plan)
    endpoints: endpoints.Plan = field(default_factory=endpoints.Plan)
    cached: cached.Plan = field(default_factory=cached.Plan)
    delays: delays.Plan = field(default_factory=delays.Plan)


_SHORT = Pace(again_s=4.0, at_once_s=2.0, rounds=2)
QUICK = Plans(
    library.Plan(pace=_SHORT),
    claims.Plan(turns=4, ways=((1, 1, 1), (1, 4, 4), (4, 1, 1))),
    gallery.Plan(repetitions=10),
    checkpoints.Plan(rounds=10),
    endpoints.Plan(pace=_SHORT),
    cached.Plan((Pace(callers=1, again_s=0.0, at_once_s=2.0, rounds=2), Pace(callers=10, again_s=4.0, at_once_s=2.0))),
    delays.Plan(seconds=5.0),
)
"""The same sizes for a shorter time: to look whether something is far off."""


Found = dict[str, Sequence[Any]]


def measured(name: str, plans: Plans, databases: Databases, folder: Path) -> Sequence[Any]:
    """What needs no stack; each time on empty databases."""
    if name == CLAIMS:
        found = []
        for way in plans.claims.ways:
            with databases.fresh() as url:
                found.append(asyncio.run(claims.measure(databases.name, url, folder, plans.claims, way)))
        return found
    with databases.fresh() as url:
        settings = settings_at(url, folder)
        if name == LIBRARY:
            return asyncio.run(library.measure(databases.name, settings, plans.library))
        if name == GALLERY:
            return asyncio.run(gallery.measure(databases.name, settings, plans.gallery))
        return asyncio.run(_checkpoints(databases.name, settings, plans.checkpoints))


async def _checkpoints(database: str, settings: Settings, plan: checkpoints.Plan) -> list[checkpoints.Cost]:
    illustrator = Illustrator(settings.illustrator)
    await illustrator.start()
    try:
        return await checkpoints.measure(database, settings, illustrator, plan)
    finally:
        await illustrator.close()


def measured_through_the_stack(names: Sequence[str], plans: Plans, databases: Databases, folder: Path) -> Found:
    """One stack for all of ``names``."""
    found: Found = {}
    with databases.fresh() as url, told_by_environment(url), running() as started:
        settings = settings_at(url, folder)
        for name in names:
            if name == DOORS:
                found[name] = asyncio.run(endpoints.measure(databases.name, started.url, settings, plans.endpoints))
            elif name == CACHED:
                found[name] = asyncio.run(cached.measure(databases.name, started.url, plans.cached))
            else:
                found[name] = asyncio.run(delays.measure(databases.name, started.url, settings, plans.delays))
    return found


def shown(name: str, rows: Sequence[Any]) -> str:
    """The table of one measurement on every database, and what went wrong."""
    if name == CLAIMS:
        return claims.table(rows)
    if name == CHECKPOINTS:
        return checkpoints.table(rows)
    return "\n".join([table(TITLES[name], rows), *errors_of(rows)])


def main(arguments_given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=NAMES, help="this measurement; may be given several times")
    parser.add_argument("--databases", action="append", choices=KINDS, help="this kind alone")
    parser.add_argument("--postgresql", metavar="URL", help="a server where databases may be made; default: start one")
    parser.add_argument("--quick", action="store_true", help="a few minutes, for a rough look")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "bench" / "queue.json")
    arguments = parser.parse_args(arguments_given)
    wanted, plans = arguments.only or NAMES, QUICK if arguments.quick else Plans()
    kinds = arguments.databases or list(KINDS)
    everything: Found = {}
    with (
        tempfile.TemporaryDirectory(prefix="atelier-bench-") as name,
        all_of(kinds, Path(name), arguments.postgresql) as databases,
    ):
        for found in _all(wanted, plans, databases, Path(name)):
            for measurement, rows in found.items():
                print(f"{shown(measurement, rows)}\n", flush=True)
            everything |= found
    load = os.getloadavg()
    print(f"load average {load[0]:.1f}, {load[1]:.1f}, {load[2]:.1f} on {os.cpu_count()} cores at the end")
    figures = {measurement: [asdict(row) for row in rows] for measurement, rows in everything.items()}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"cores": os.cpu_count(), "load": load, **figures}, indent=1))


def _all(wanted: Sequence[str], plans: Plans, databases: Sequence[Databases], folder: Path) -> Iterator[Found]:
    """Each measurement on every database, as they are done."""
    for name in NAMES:
        if name in wanted and name not in THROUGH_THE_STACK:
            yield {name: [row for kind in databases for row in measured(name, plans, kind, folder)]}
    through = [name for name in THROUGH_THE_STACK if name in wanted]
    if through:
        found = [measured_through_the_stack(through, plans, kind, folder) for kind in databases]
        yield {name: [row for one in found for row in one[name]] for name in through}


if __name__ == "__main__":
    main()
