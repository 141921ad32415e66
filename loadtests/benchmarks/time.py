"""Time at 512 px, stage by stage, against the goals (D-011 to D-055): ``python -m loadtests.benchmarks.time``.

Runs the Vectorizer with its own embedded Triton in this process, without Ray and without HTTP, on pictures of the
test split, one at a time. The start is measured in a process of its own, with warm caches (compiled kernels and files
read before); the loading of the engines and the memory of the Triton that holds them (D-052) by a Triton of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import psutil

from loadtests.load.memory import kind_of
from loadtests.vectorize.dataset import Picture, held_out, prepare
from loadtests.vectorize.measure import ROOT
from loadtests.vectorize.table import markdown
from serve.engines.triton.server import TritonServer
from serve.ensembles.vectorizer.candidates import fixed_parameters
from serve.ensembles.vectorizer.vectorization import ENGINES, VectorizeOptions
from serve.ensembles.vectorizer.vectorizer import Vectorizer
from serve.settings import VectorizerSettings
from serve.vector.features import extract, network_input
from serve.vector.parameters import CANDIDATE_WIDTH, reference_parameters
from serve.vector.structure import structure_of
from serve.vector.trace import trace

SIZE_PX = 512
CANDIDATES = 1000
TRACE = "one trace of the coverage tracer, not refined"
PEER = "VTracer alone, same pictures"
"""In the same run, because a machine's speed differs from hour to hour: what can be compared are ratios to it."""
GOALS_MS = {
    "features (statistics)": 100,
    "features (network input)": 100,
    "features (structure)": 100,
    "embedding": 50,
    "classification (embedding given)": 50,
    f"prediction of {CANDIDATES} candidates": 30,
    "analysis and routing, whole": 100,
    "tier 1": 200,
    "tier 2": 500,
    "tier 3": 1000,
    TRACE: 100,
    PEER: math.inf,
}
START_GOAL_MS = 5000
LOAD_GOAL_MS = 3000
MEMORY_GOAL_MB = 500
"""Resident, of Triton and the processes of its backends. Pages that they share count for each."""
_START = """
import asyncio, time
start = time.perf_counter()
from serve.ensembles.vectorizer.vectorizer import Vectorizer
from serve.settings import VectorizerSettings
async def main():
    vectorizer = Vectorizer(VectorizerSettings())
    await vectorizer.start()
    print(time.perf_counter() - start)
    await vectorizer.close()
asyncio.run(main())
"""


@dataclass(frozen=True)
class Timing:
    stage: str
    p50_ms: float
    p95_ms: float
    goal_ms: float

    @property
    def met(self) -> bool:
        return self.p95_ms < self.goal_ms


def summarise(stage: str, milliseconds: Sequence[float], goal_ms: float) -> Timing:
    p50, p95 = np.quantile(milliseconds, [0.5, 0.95])
    return Timing(stage, float(p50), float(p95), goal_ms)


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    await work()
    return (time.perf_counter() - start) * 1e3


async def stages_of(picture: Picture, vectorizer: Vectorizer) -> dict[str, float]:
    """Milliseconds per stage of one picture."""
    found: dict[str, float] = {}

    def measured(stage: str, start: float) -> None:
        found[stage] = (time.perf_counter() - start) * 1e3

    start = time.perf_counter()
    features = extract(picture.rgba)
    measured("features (statistics)", start)
    start = time.perf_counter()
    inputs = {name: value[None] for name, value in network_input(picture.rgba, features).items()}
    measured("features (network input)", start)
    start = time.perf_counter()
    structure = structure_of(picture.rgba).to_vector()[None]
    measured("features (structure)", start)
    start = time.perf_counter()
    embedding = (await vectorizer.infer("image_features", inputs))["embedding"]
    measured("embedding", start)
    known = {"embedding": embedding, "statistics": inputs["statistics"], "structure": structure}
    found["classification (embedding given)"] = await timed(lambda: vectorizer.infer("logo_type", known))
    candidates = np.random.default_rng(0).random((1, CANDIDATES, CANDIDATE_WIDTH), np.float32)
    rows = {"embedding": embedding, "parameters": candidates}
    found[f"prediction of {CANDIDATES} candidates"] = await timed(lambda: vectorizer.infer("quality", rows))
    found["analysis and routing, whole"] = await timed(lambda: vectorizer.analyze(picture.png()))
    for tier in (1, 2, 3):
        options = VectorizeOptions(tier=tier)
        data = picture.png(f"tier {tier}")  # bytes that no cache has seen
        found[f"tier {tier}"] = await timed(lambda d=data, o=options: vectorizer.vectorize(d, o))  # type: ignore[misc]
    plain = replace(fixed_parameters(features), refine=0)
    start = time.perf_counter()
    trace(picture.rgba, plain)
    measured(TRACE, start)
    start = time.perf_counter()
    trace(picture.rgba, reference_parameters())
    measured(PEER, start)
    return found


async def measure(pictures: Sequence[Picture]) -> list[Timing]:
    """All stages over ``pictures``; the first picture is run once more, before, to warm up."""
    vectorizer = Vectorizer(VectorizerSettings())
    await vectorizer.start()
    try:
        await stages_of(pictures[0], vectorizer)
        rows = [await stages_of(picture, vectorizer) for picture in pictures]
    finally:
        await vectorizer.close()
    return [summarise(stage, [row[stage] for row in rows], goal) for stage, goal in GOALS_MS.items()]


def start_times(count: int) -> list[float]:
    """Milliseconds from an empty interpreter to a ready Vectorizer, after one start that is not counted."""
    command = [sys.executable, "-c", _START]
    runs = [subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120) for _ in range(count + 1)]
    return [float(run.stdout.split()[-1]) * 1e3 for run in runs[1:]]


def load_engines() -> tuple[float, float]:
    """Milliseconds until a Triton has loaded all engines of the Vectorizer, and the MB that it holds then."""
    settings = VectorizerSettings()
    server = TritonServer(settings.model_repository, ENGINES, tritonserver=settings.tritonserver)
    start = time.perf_counter()
    server.start()
    try:
        took_ms = (time.perf_counter() - start) * 1e3
        processes = psutil.Process().children(recursive=True)
        held = [p.memory_info().rss for p in processes if kind_of(p.cmdline()) in ("Triton", "Triton backends")]
    finally:
        server.stop()
    return took_ms, sum(held) / 1e6


def _verdict(timing: Timing) -> tuple[str, str]:
    """The goal, and whether it is met; dashes for what has none."""
    return ("—", "—") if math.isinf(timing.goal_ms) else (f"{timing.goal_ms:.0f}", "yes" if timing.met else "no")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40, help="icons of the test split")
    parser.add_argument("--starts", type=int, default=3, help="how often the start is measured")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "bench" / "time.json")
    arguments = parser.parse_args()
    conditions = ("clean", "jpeg70")
    pictures = [prepare(icon, conditions[k % 2], SIZE_PX) for k, icon in enumerate(held_out(arguments.count))]
    timings = asyncio.run(measure(pictures))
    timings.append(summarise("start, warm caches", start_times(arguments.starts), START_GOAL_MS))
    loads = [load_engines() for _ in range(arguments.starts + 1)][1:]
    timings.append(summarise("load of all engines, warm caches", [took_ms for took_ms, _ in loads], LOAD_GOAL_MS))
    most_mb = max(held_mb for _, held_mb in loads)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps([asdict(t) for t in timings], indent=1))
    lines = [[t.stage, f"{t.p50_ms:.1f}", f"{t.p95_ms:.1f}", *_verdict(t)] for t in timings]
    print(
        f"{len(pictures)} pictures with a long side of {SIZE_PX} px, half of them JPEG 70, one at a time; load average "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the end (about 1 when nothing else runs)\n"
    )
    print(markdown(["stage", "p50 ms", "p95 ms", "goal ms", "p95 within"], lines))
    within = "within" if most_mb < MEMORY_GOAL_MB else "beyond"
    print(
        f"\nTriton with all {len(ENGINES)} engines: {most_mb:.0f} MB resident, {within} the goal of {MEMORY_GOAL_MB} MB"
    )


if __name__ == "__main__":
    main()
