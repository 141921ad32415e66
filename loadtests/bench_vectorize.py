"""Tracers on the test split: ``python -m loadtests.bench_vectorize [--limit 60 --methods vtracer_pp2,coverage]``.

Prints Markdown tables and writes every measurement as JSON. Measurements are kept in ``var/bench/vectorize`` and taken
from there as long as the code they depend on has not changed, so an interrupted run goes on where it stopped.
Milliseconds are only to be trusted from runs with ``--jobs 1`` on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from loadtests.vectorize import table
from loadtests.vectorize.dataset import CONDITIONS, held_out, key
from loadtests.vectorize.measure import ROOT, Job, Measurement, Store, run
from loadtests.vectorize.methods import Method, all_methods

FOLDER = ROOT / "var" / "bench" / "vectorize"


def choose(names: Sequence[str]) -> list[Method]:
    """The methods of those names (all when empty), in the order of the tables; SystemExit for an unknown name."""
    methods = all_methods()
    unknown = set(names) - {m.name for m in methods}
    if unknown:
        sys.exit(f"no method {', '.join(sorted(unknown))}; there are {', '.join(m.name for m in methods)}")
    return [m for m in methods if not names or m.name in names]


def present(methods: Sequence[Method], console: Console) -> list[Method]:
    """Those that can run here; the others are named with the reason."""
    found = []
    for method in methods:
        if reason := method.missing():
            console.print(f"left out: {method.name}: {reason}")
        else:
            found.append(method)
    return found


def measure_all(
    methods: Sequence[Method], limit: int, conditions: Sequence[str], jobs: int, folder: Path, console: Console
) -> dict[str, list[Measurement]]:
    """Measures what the stores lack; answers all measurements of the chosen pictures by method."""
    icons = held_out(limit)
    stores = {m.name: Store(folder, m) for m in methods}
    wanted = {icon: [key(icon, c) for c in conditions] for icon in icons}
    work: list[Job] = []
    for icon, keys in wanted.items():
        todo = {name: {k for k in keys if store.get(k) is None} for name, store in stores.items()}
        if any(todo.values()):
            work.append((icon, conditions, todo))
    if work:
        lacking = tuple(n for n in stores if any(todo[n] for _, _, todo in work))
        batches = run(partial(choose, lacking), work, jobs)
        for rows in track(batches, "icons", total=len(work), console=console):
            for row in rows:
                stores[row.method].add(row)
    keys = [k for own in wanted.values() for k in own]
    return {name: [kept for k in keys if (kept := store.get(k)) is not None] for name, store in stores.items()}


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
    ]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=320, help="icons of the test split (default 320)")
    parser.add_argument("--methods", default="", help="names, comma-separated; default all")
    parser.add_argument("--conditions", default=",".join(CONDITIONS), help=f"default {','.join(CONDITIONS)}")
    parser.add_argument("--jobs", type=int, default=1, choices=(1, 2), help="processes; times need 1")
    parser.add_argument("--out", type=Path, default=FOLDER / "results.json", help="all measurements as JSON")
    parser.add_argument("--cache", type=Path, default=FOLDER, help="folder of kept measurements")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    methods = present(choose([n for n in arguments.methods.split(",") if n]), console)
    conditions = arguments.conditions.split(",")
    rows = measure_all(methods, arguments.limit, conditions, arguments.jobs, arguments.cache, console)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({name: [asdict(r) for r in own] for name, own in rows.items()}, indent=1))
    print(report(rows, methods, arguments.jobs))


if __name__ == "__main__":
    main()
