"""The stack, LitServe, plain FastAPI and Triton alone on the same engines: ``python -m loadtests.benchmarks.peers``.

One machine, one run, one peer up at a time: in each round every peer is started, called and ended, in another order
each round. The same ONNX file, the same number of CPU threads, and callers that cost next to nothing: prepared bytes
over raw sockets, or NVIDIA's perf_analyzer over gRPC (`make clients`). KServe v2 in binary form; base64 in JSON for
LitServe, which reads no bytes. Answers of an engine are compared with ONNX Runtime's own; pictures have to be of one
size. The stack has all on that others have not: HAProxy, limits, history, a replica in another process. Beside the
rates the table has the processor time per answer of the gateway and of the replicas. Compare ratios within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from loadtests.load.drawings import DRAWINGS as FILES
from loadtests.load.drawings import encoded
from loadtests.load.stack import running
from loadtests.peers import engines, whole_jobs
from loadtests.peers.closed_loop import Samples, rotated
from loadtests.peers.peer import Peer, cpu_seconds, measure_idle, measure_turn
from loadtests.vectorize.measure import ROOT
from loadtests.vectorize.table import markdown

ENGINES, PICTURES, DRAWINGS, CACHED = "engines", "pictures", "drawings", "cached"
IDLE, START = "idle", "start"
WHAT = (ENGINES, PICTURES, DRAWINGS, CACHED, IDLE, START)
CALLERS = (1, 8, 32)
SETTLE_S = 20.0
"""Before a stack counts as idle."""
Rows = dict[int, dict[str, Samples]]
"""By callers, then by title."""


def measure(peers: Mapping[str, Peer], options: argparse.Namespace) -> Rows:
    chosen = [name for name in peers if not options.peers or name in options.peers]
    rows: Rows = {callers: {} for callers in options.callers}
    for round_ in range(options.rounds):
        for name in rotated(chosen, round_):
            with peers[name]() as server:
                for callers in options.callers:
                    for title in server.ways:
                        rows[callers].setdefault(title, Samples())
                    measure_turn(server, callers, options.seconds, rows[callers])
    return rows


def table(title: str, rows: Rows) -> str:
    """Beside each peer, how much of the answers per second of the first one it has."""
    lines = []
    for callers, peers in rows.items():
        ours = next(iter(peers.values())).rate
        for name, samples in peers.items():
            times = [f"{samples.quantile_ms(share):.1f}" for share in (0.5, 0.99)]
            ratio = f"{samples.rate / ours:.2f}" if ours else "–"
            spent = [_milliseconds(samples, kinds) for kinds in (("Gateway",), ("Vectorizer", "Illustrator"))]
            failed = str(len(samples.failures))
            lines.append([name, str(callers), f"{samples.rate:.1f}", *times, *spent, failed, ratio])
    columns = [
        "callers",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "gateway CPU ms",
        "replica CPU ms",
        "failed",
        "to Atelier's",
    ]
    return markdown([title, *columns], lines)


def _milliseconds(samples: Samples, kinds: Sequence[str]) -> str:
    """Processor time per answer, summed over ``kinds`` of process."""
    found = [samples.cpu(kind) for kind in kinds if kind in samples.cpu_ms]
    return f"{sum(found):.2f}" if found else "–"


def show(title: str, rows: Rows) -> None:
    print(table(title, rows) + "\n", flush=True)
    for callers, peers in rows.items():
        for name, samples in peers.items():
            for text in sorted(set(samples.failures))[:3]:
                print(f"failed: {name}, {callers} callers: {text}", flush=True)


def all_engines(options: argparse.Namespace) -> dict[str, Rows]:
    found = {}
    for engine in options.engine:
        found[engine] = measure(engines.peers(engine, options.threads, {}), options)
        show(f"engine {engine}", found[engine])
    return found


def all_pictures(options: argparse.Namespace) -> dict[str, Rows]:
    from loadtests.illustrate.workload import NAME, prepare  # torch

    with tempfile.TemporaryDirectory(prefix="atelier-peers-") as name:
        prepare(None, Path(name))
        rows = measure(whole_jobs.pictures(Path(name), NAME, options.steps), options)
    show(f"prompt to picture, {options.steps} steps", rows)
    return {PICTURES: rows}


def all_drawings(options: argparse.Namespace) -> dict[str, Rows]:
    rows = measure(whole_jobs.drawings(), options)
    show("picture to SVG, tier 1", rows)
    return {DRAWINGS: rows}


def from_cache(options: argparse.Namespace) -> dict[str, Rows]:
    """Conversions that are in the cache; the stack alone."""
    rows = measure({"atelier": whole_jobs.cached}, options)
    show("picture to SVG, from the cache", rows)
    return {CACHED: rows}


def idle(options: argparse.Namespace) -> dict[str, Rows]:
    """The stack without requests: processor time, memory, processes."""
    with running() as started:
        time.sleep(SETTLE_S)
        found = measure_idle(started.pid, 10 * options.seconds)
    lines = [[kind, f"{100 * share:.1f}"] for kind, share in sorted(found.cpu_share.items(), key=lambda one: -one[1])]
    lines.append(["all", f"{100 * sum(found.cpu_share.values()):.1f}"])
    print(markdown(["idle stack", "% of a core"], lines))
    print(f"memory (PSS) {found.pss_bytes / 1e9:.2f} GB in {found.processes} processes\n", flush=True)
    return {}


def start(options: argparse.Namespace) -> dict[str, Rows]:
    """From `atelier up` to the first conversion. Processor time says more than seconds on a machine with other work."""
    lines = []
    for _ in range(options.rounds):
        began = time.perf_counter()
        with running() as started:
            ready_s, spent = time.perf_counter() - began, cpu_seconds(started.pid)
            body = whole_jobs.form(encoded(next(iter(FILES)), whole_jobs.SIDE_PX))
            headers = {"Content-Type": whole_jobs.FORM, "Accept": "image/svg+xml"}
            with urllib.request.urlopen(
                urllib.request.Request(f"{started.url}/api/convert-ai", body, headers), timeout=60
            ) as answer:
                whole_jobs.check_svg(b"", answer.read())
            lines.append([f"{ready_s:.1f}", f"{time.perf_counter() - began:.1f}", f"{sum(spent.values()):.1f}"])
        top = sorted(spent.items(), key=lambda one: -one[1])[:8]
        print("processor s until ready: " + ", ".join(f"{kind} {spent_s:.1f}" for kind, spent_s in top), flush=True)
    print(markdown(["ready, s", "first conversion, s", "processor s until ready"], lines) + "\n", flush=True)
    return {}


MEASUREMENTS = {
    ENGINES: all_engines, PICTURES: all_pictures, DRAWINGS: all_drawings, CACHED: from_cache, IDLE: idle, START: start,
}  # fmt: skip


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="+", choices=WHAT, default=WHAT)
    parser.add_argument("--engine", nargs="+", default=["quality", "mini_unet"], help="engines of model_repository")
    parser.add_argument("--callers", nargs="+", type=int, default=CALLERS)
    parser.add_argument("--peers", nargs="+", default=(), help="only these, such as atelier triton")
    parser.add_argument("--rounds", type=int, default=3, help="starts of each peer")
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
