"""The running stack under 1, 10, 50 and 100 callers: ``python -m loadtests.benchmarks.load [--url http://127.0.0.1:8000]``.

Without ``--url`` it starts a stack of its own on free ports and stops it at the end. Callers speak native HTTP in a
closed loop and run on the same machine, so their own work is part of what is measured. Memory is the proportional
set size of the whole stack, callers left out; it needs the stack's pid (``--pid`` with ``--url``).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.load.callers import Load, drive
from loadtests.load.drawings import all_encoded
from loadtests.load.memory import pss_bytes
from loadtests.load.stack import running
from loadtests.vectorize.measure import ROOT
from loadtests.vectorize.table import markdown, percent

CALLERS = (1, 10, 50, 100)
OUTSIDE = ("analyze",)
"""Stages of the Vectorizer that neither trace nor ask an engine: decoding and features."""
MIB = 1024 * 1024


def outside_share(load: Load) -> float:
    """Share of a caller's waiting time in which its own request was neither traced nor in an engine.

    Meaningful with one caller; with more it is mostly queueing behind other requests' tracing.
    """
    good = [c for c in load.calls if c.ok]
    work = sum(sum(seconds for stage, seconds in c.timings_s.items() if stage not in OUTSIDE) for c in good)
    return 1 - work / sum(c.latency_s for c in good) if good else math.nan


def overhead_ms(load: Load) -> float:
    """Median milliseconds of a request outside the Vectorizer: client, HTTP, proxy, gateway, Ray's hop."""
    spent = [(c.latency_s - c.processing_s) * 1e3 for c in load.calls if c.ok]
    return float(np.median(spent)) if spent else math.nan


def summary(load: Load, memory: dict[str, int]) -> dict[str, Any]:
    waits = [c.latency_s * 1e3 for c in load.calls if c.ok] or [math.nan]
    p50, p95 = np.quantile(waits, [0.5, 0.95])
    return {
        "callers": load.callers,
        "requests": len(load.calls),
        "per_second": load.per_second,
        "p50_ms": float(p50),
        "p95_ms": float(p95),
        "errors": load.errors,
        "error_texts": sorted({c.error for c in load.calls if c.error})[:5],
        "outside_share": outside_share(load),
        "overhead_ms": overhead_ms(load),
        "pss_bytes": memory,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        total = sum(row["pss_bytes"].values())
        alone = row["callers"] == 1
        outside = [percent(row["outside_share"]), f"{row['overhead_ms']:.1f}"] if alone else ["–", "–"]
        numbers = [f"{row['per_second']:.1f}", f"{row['p50_ms']:.0f}", f"{row['p95_ms']:.0f}", str(row["errors"])]
        memory = f"{total / MIB:,.0f}" if total else "–"
        lines.append([str(row["callers"]), str(row["requests"]), *numbers, *outside, memory])
    header = ["callers", "requests", "requests/s", "p50 ms", "p95 ms", "errors"]
    return markdown([*header, "outside tracing and inference", "outside the Vectorizer, ms", "PSS MiB"], lines)


def memory_table(memory: dict[str, int]) -> str:
    lines = [[kind, f"{size / MIB:,.0f}"] for kind, size in sorted(memory.items(), key=lambda item: -item[1])]
    return markdown(
        ["memory of the stack at the end", "PSS MiB"], [*lines, ["all", f"{sum(memory.values()) / MIB:,.0f}"]]
    )


@contextlib.contextmanager
def stack(url: str, pids: Sequence[int]) -> Iterator[tuple[str, Sequence[int]]]:
    """(url, pids of its roots) of the given stack, or of one started for this run."""
    if url:
        yield url, pids
    else:
        with running() as started:
            yield started.url, [started.pid]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="", help="HTTP door of a running stack; default: start one")
    parser.add_argument("--pid", type=int, action="append", default=[], help="root process of that stack, for memory")
    parser.add_argument("--seconds", type=float, default=20, help="time per number of callers")
    parser.add_argument("--callers", default=",".join(map(str, CALLERS)))
    parser.add_argument("--tier", default="auto")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "bench" / "load.json")
    arguments = parser.parse_args()
    rows = []
    with stack(arguments.url, arguments.pid) as (url, pids):
        for callers in map(int, arguments.callers.split(",")):
            load = asyncio.run(drive(url, callers, arguments.seconds, all_encoded(), {"tier": arguments.tier}))
            rows.append(summary(load, pss_bytes(pids)))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(rows, indent=1))
    print(f"tier {arguments.tier}, drawings of 128 to 512 px, {arguments.seconds:g} s each\n")
    print(table(rows))
    if any(rows[-1]["pss_bytes"]):
        print(f"\n{memory_table(rows[-1]['pss_bytes'])}")
    for text in {text for row in rows for text in row["error_texts"]}:
        print(f"error seen: {text}")


if __name__ == "__main__":
    main()
