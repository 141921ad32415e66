"""Ours, LitServe, plain FastAPI and Triton alone on the same engines: ``python -m loadtests.benchmarks.peers``.

One machine, one run, all peers up at once; they take turns, in another order each time. The same ONNX file, the same
number of CPU threads, the same callers in this process, who send the same bytes again and again: KServe v2 in binary
form, base64 in JSON for LitServe, which reads no bytes, and whose callers have to encode and decode it. Every answer of
an engine is compared with ONNX Runtime's own; pictures are decoded and have to be of one size. Ours has all on that
others have not: HAProxy, limits, a replica in another process. Compare ratios: callers need the cores too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from pathlib import Path

from loadtests.load.stack import running
from loadtests.peers import engines, whole_jobs
from loadtests.peers.closed_loop import Samples, Send, interleave
from loadtests.vectorize.measure import ROOT
from loadtests.vectorize.table import markdown

ENGINES, PICTURES, DRAWINGS = "engines", "pictures", "drawings"
WHAT = (ENGINES, PICTURES, DRAWINGS)
CALLERS = (1, 8, 32)
Rows = dict[int, dict[str, Samples]]
"""By callers, then by peer."""


async def measure(opened: AbstractAsyncContextManager[dict[str, Send]], options: argparse.Namespace) -> Rows:
    async with opened as senders:
        return {
            callers: await interleave(senders, callers, options.rounds, options.seconds) for callers in options.callers
        }


def table(title: str, rows: Rows) -> str:
    """Beside each peer, how much of the answers per second of the first one it has."""
    lines = []
    for callers, peers in rows.items():
        ours = next(iter(peers.values())).rate
        for name, samples in peers.items():
            times = [f"{samples.quantile_ms(share):.1f}" for share in (0.5, 0.99)]
            ratio = f"{samples.rate / ours:.2f}" if ours else "–"
            counts = [str(callers), str(len(samples.waits_s))]
            lines.append([name, *counts, f"{samples.rate:.1f}", *times, str(len(samples.failures)), ratio])
    return markdown([title, "callers", "answers", "requests/s", "p50 ms", "p99 ms", "failed", "to Atelier's"], lines)


def show(title: str, rows: Rows) -> None:
    print(table(title, rows) + "\n", flush=True)
    for callers, peers in rows.items():
        for name, samples in peers.items():
            for text in sorted(set(samples.failures))[:3]:
                print(f"failed: {name}, {callers} callers: {text}", flush=True)


def all_engines(options: argparse.Namespace) -> dict[str, Rows]:
    found = {}
    with running() as ours:
        for engine in options.engine:
            found[engine] = asyncio.run(measure(engines.senders(engine, ours, options.threads), options))
            show(f"engine {engine}", found[engine])
    return found


def all_pictures(options: argparse.Namespace) -> dict[str, Rows]:
    from loadtests.illustrate.workload import NAME, prepare  # torch

    with tempfile.TemporaryDirectory(prefix="atelier-peers-") as name:
        subject = prepare(None, Path(name))
        with whole_jobs.stack_of(subject.repository, NAME) as ours:
            rows = asyncio.run(measure(whole_jobs.pictures(Path(name), ours, options.steps), options))
    show(f"prompt to picture, {options.steps} steps", rows)
    return {PICTURES: rows}


def all_drawings(options: argparse.Namespace) -> dict[str, Rows]:
    with running() as ours:
        rows = asyncio.run(measure(whole_jobs.drawings(ours), options))
    show("picture to SVG, tier 1", rows)
    return {DRAWINGS: rows}


MEASUREMENTS = {ENGINES: all_engines, PICTURES: all_pictures, DRAWINGS: all_drawings}


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="+", choices=WHAT, default=WHAT)
    parser.add_argument("--engine", nargs="+", default=["quality", "mini_unet"], help="engines of model_repository")
    parser.add_argument("--callers", nargs="+", type=int, default=CALLERS)
    parser.add_argument("--rounds", type=int, default=6, help="turns of each peer")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of an engine whose config names none")
    parser.add_argument("--steps", type=int, default=8, help="of a picture")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "bench" / "peers.json")
    options = parser.parse_args(given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # peers are ended then, too
    found: dict[str, Rows] = {}
    for what in options.what:
        found |= MEASUREMENTS[what](options)
    load = os.getloadavg()
    print(f"load average {load[0]:.1f}, {load[1]:.1f}, {load[2]:.1f} on {os.cpu_count()} cores at the end")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        title: {n: {p: asdict(a) for p, a in peers.items()} for n, peers in rows.items()}
        for title, rows in found.items()
    }
    options.out.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
