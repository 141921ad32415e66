"""What guards cost a request, and whether limits hold: ``python -m loadtests.benchmarks.security``.

Counts are kept in SQLite, in PostgreSQL and in Redis, each started for this. Four processes are asked 1,000 times a
second in all, on the machine that also asks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtests.queue.databases import KINDS, all_of
from loadtests.security import requests
from loadtests.security.rates import Cost, Held, Plan, cost_table, costs, held_table, holding, stores
from loadtests.vectorize.measure import ROOT

REDIS = "redis"


def main(arguments_given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", action="append", choices=[*KINDS, REDIS], help="this one alone")
    parser.add_argument("--quick", action="store_true", help="a minute for each store, for a rough look")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "bench" / "guards.json")
    arguments = parser.parse_args(arguments_given)
    plan, pairs = (Plan(seconds=4.0), 200) if arguments.quick else (Plan(), 1000)
    wanted = arguments.stores or [*KINDS, REDIS]
    added: list[requests.Added] = []
    spent: list[Cost] = []
    held: list[Held] = []
    with (
        tempfile.TemporaryDirectory(prefix="atelier-bench-") as name,
        all_of([kind for kind in KINDS if kind in wanted], Path(name), None) as databases,
        stores(databases, Path(name), REDIS in wanted) as found,
    ):
        for store in found:
            added += asyncio.run(requests.added(store.name, store.database_url, Path(name), pairs))
            spent += costs(store, plan)
            held += holding(store, plan)
    print(f"{requests.added_table(added)}\n\n{cost_table(spent)}\n\n{held_table(held)}\n")
    load = os.getloadavg()
    print(f"load average {load[0]:.1f}, {load[1]:.1f}, {load[2]:.1f} on {os.cpu_count()} cores at the end")
    found_all: dict[str, list[Any]] = {"added": added, "costs": spent, "held": held}
    figures = {name: [asdict(one) for one in rows] for name, rows in found_all.items()}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"cores": os.cpu_count(), "load": load, **figures}, indent=1))


if __name__ == "__main__":
    main()
