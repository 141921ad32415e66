"""Tracers on the test split: ``python -m loadtests.benchmarks.vectorize [--limit 60 --methods vtracer_pp2,coverage]``.

Prints Markdown tables and writes every measurement as JSON. Measurements are kept in ``var/bench/vectorize`` and taken
from there as long as the code they depend on has not changed, so an interrupted run goes on where it stopped.
Milliseconds are only to be trusted from runs with ``--jobs 1`` on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from build_engines.data import Icon
from loadtests.vectorize import table, tiers_table
from loadtests.vectorize.dataset import CONDITIONS, drawn_conditions, held_out, key
from loadtests.vectorize.ensemble import AUTO_TARGETS
from loadtests.vectorize.measure import ROOT, Job, Measurement, Store, run
from loadtests.vectorize.methods import Method
from loadtests.vectorize.registry import SLOW, choose

Chosen = Sequence[tuple[Icon, Sequence[str]]]
"""Icons, each with its conditions."""
FOLDER = ROOT / "var" / "bench" / "vectorize"


def present(methods: Sequence[Method], console: Console) -> list[Method]:
    """Those that can run here; the others are named with the reason."""
    found = []
    for method in methods:
        if reason := method.missing():
            console.print(f"left out: {method.name}: {reason}")
        else:
            found.append(method)
    return found


def missing(chosen: Chosen, stores: dict[str, Store], at_4x: bool) -> list[Job]:
    """What the stores lack, an icon a job; slow methods stop after their share of the icons."""
    jobs = []
    for place, (icon, conditions) in enumerate(chosen):
        due = {name: store for name, store in stores.items() if place < SLOW.get(name, len(chosen))}
        lack = {c: tuple(n for n, store in due.items() if store.get(key(icon, c)) is None) for c in conditions}
        if any(lack.values()):
            jobs.append(Job(icon, {c: names for c, names in lack.items() if names}, at_4x))
    return jobs


def fill(stores: dict[str, Store], work: Sequence[Job], jobs: int, console: Console) -> None:
    """Measures ``work`` into the stores, with a progress bar."""
    if not work:
        return
    lacking = {name for job in work for names in job.missing.values() for name in names}
    batches = run(partial(choose, sorted(lacking)), work, jobs)
    for rows in track(batches, "icons", total=len(work), console=console):
        for row in rows:
            stores[row.method].add(row)


def collect(stores: dict[str, Store], chosen: Chosen) -> dict[str, list[Measurement]]:
    """All measurements of the chosen pictures by method."""
    keys = [key(icon, c) for icon, conditions in chosen for c in conditions]
    return {name: [row for row in map(store.get, keys) if row is not None] for name, store in stores.items()}


def report(rows: dict[str, list[Measurement]], methods: Sequence[Method], jobs: int) -> str:
    titles = {m.name: m.title for m in methods}
    icons = len({r.icon for own in rows.values() for r in own})
    note = "" if jobs == 1 else f" Milliseconds are not to be trusted: measured with {jobs} jobs at a time."
    parts = [
        f"{icons} icons of the test split; means over pictures; baseline: VTracer v0.6 pp2.{note}",
        table.overview(rows, titles),
        table.by(rows, titles, "condition"),
        table.by(rows, titles, "set"),
        table.by(rows, titles, "size"),
        table.definitions(rows, titles),
        table.goals(rows),
        tiers_table.learning(rows, titles),
        tiers_table.against_search(rows),
        tiers_table.routes(rows, AUTO_TARGETS),
        tiers_table.predictions(rows, titles),
        tiers_table.stages(rows, titles),
    ]
    return "\n\n".join(part for part in parts if part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=320, help="icons of the test split (default 320)")
    parser.add_argument("--methods", default="", help="comma-separated; also tracer:parameter=value:…")
    parser.add_argument(
        "--conditions",
        default="",
        help=f"of every icon: {','.join(CONDITIONS)}; default clean and two that its name decides",
    )
    parser.add_argument("--jobs", type=int, default=1, choices=(1, 2), help="processes; times need 1")
    parser.add_argument("--skip-4x", action="store_true", help="leave out SSIM at 4x: several times faster")
    parser.add_argument("--out", type=Path, default=FOLDER / "results.json", help="all measurements as JSON")
    parser.add_argument("--cache", type=Path, default=FOLDER, help="folder of kept measurements")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    methods = present(choose([n for n in arguments.methods.split(",") if n]), console)
    conditions = [c for c in arguments.conditions.split(",") if c]
    chosen = [(icon, conditions or drawn_conditions(icon)) for icon in held_out(arguments.limit)]
    stores = {m.name: Store(arguments.cache, m, not arguments.skip_4x) for m in methods}
    fill(stores, missing(chosen, stores, not arguments.skip_4x), arguments.jobs, console)
    rows = collect(stores, chosen)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({name: [asdict(r) for r in own] for name, own in rows.items()}, indent=1))
    print(report(rows, methods, arguments.jobs))


if __name__ == "__main__":
    main()
