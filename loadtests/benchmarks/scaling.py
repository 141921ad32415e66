"""Replicas follow the load: ``python -m loadtests.benchmarks.scaling [--knee]``.

Starts a stack whose Illustrator may have 1 to N replicas, runs locust in steps (1 caller, many, 1), and looks meanwhile
at the replicas' processes, and at the stack's own metrics for those that are ready and for what waits in them. Prints a
table and draws docs/media/scaling.png. Denoising sleeps, so that each replica has a capacity of its own, as with a GPU
each: see loadtests/scaling/sleeping.py. ``--knee`` instead draws with 1, 2, 4, ... callers on one replica: where more
callers give no more pictures is the target of autoscaling. ``--models`` names a repository to measure that on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from loadtests.load.callers import ANEW
from loadtests.load.stack import Started, running
from loadtests.scaling import stack_metrics
from loadtests.scaling.chart import draw as draw_picture
from loadtests.scaling.site import REPLICA
from loadtests.scaling.sleeping import write_sleeping_family
from loadtests.scaling.steps import STEPS, drawing, steps_of
from loadtests.scaling.timeline import Moment, Sample, changes, highest_p95_s, timeline
from loadtests.vectorize.measure import ROOT
from loadtests.vectorize.table import markdown

STEP_S, PLACES = 0.1, 4
LOOK_EVERY_S = 0.5
FIRST_TOLD_S = 60.0
KNEE = (1, 2, 4, 8, 16)
EXPECTED = 0.9
"""The target is the fewest callers with this share of the best throughput."""


def settings(models: Path, most: int) -> dict[str, Any]:
    """Quick to decide, so that a run is short; a site's defaults are slower (docs/SETTINGS.md)."""
    autoscaling = {
        "target_ongoing_requests": PLACES,
        "upscale_delay_s": 3,
        "downscale_delay_s": 15,
        "look_back_period_s": 5,
    }
    illustrator = {
        "model_repository": str(models),
        "min_replicas": 1,
        "max_replicas": most,
        "max_ongoing_requests": PLACES,
        "num_cpus": 0.1,
        "autoscaling": autoscaling,
    }
    return {
        "illustrator": illustrator,
        "vectorizer": {"workers": 1, "num_cpus": 0.1},
        "rates": {"per_address": False},
        "ray": {"metrics_interval_s": stack_metrics.INTERVAL_S},
    }


def replicas(pid: int) -> int:
    """The Illustrator's below the process ``pid``, those that start or end included."""
    found = 0
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found += " ".join(process.cmdline()).startswith(f"{REPLICA}Illustrator")
    return found


def sample(started: Started, url: str) -> Sample | None:
    """None when the stack's metrics do not answer."""
    try:
        state = stack_metrics.fetch(url)
    except httpx.HTTPError:
        return None
    return Sample(time.time(), replicas(started.pid), state.ready, state.waiting)


def run_steps(started: Started, steps: str, folder: Path) -> list[Moment]:
    url = stack_metrics.endpoint(started.targets)
    _wait_reported(started, url)
    requests = folder / "requests.jsonl"
    requests.touch()
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "scaling" / "users.py"), "--headless"]
    command += ["--host", started.url, "--steps", steps, "--requests-file", str(requests), "--only-summary"]
    command += ["--stop-timeout", "60", "--exit-code-on-error", "1"]
    seen: list[Sample | None] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as locust:
        while locust.poll() is None:
            seen.append(sample(started, url))
            time.sleep(LOOK_EVERY_S)
    if locust.returncode != 0:
        raise RuntimeError(f"locust ended with {locust.returncode}: requests failed")
    requests_log = [json.loads(line) for line in requests.read_text().splitlines()]
    first = min(request["began"] for request in requests_log)  # before it locust only starts
    return timeline([each for each in seen if each is not None and each.time >= first], requests_log)


def _wait_reported(started: Started, url: str) -> None:
    """Until the metrics tell of the first replica: they come somewhat later than it."""
    deadline = time.monotonic() + FIRST_TOLD_S
    while (found := sample(started, url)) is None or found.ready < 1:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{url} tells of no {stack_metrics.READY} of the Illustrator")
        time.sleep(LOOK_EVERY_S)


def table(moments: list[Moment], steps: str) -> str:
    lines, began = [], 0.0
    for callers, seconds in steps_of(steps):
        within = [m for m in moments if began <= m.second < began + seconds]
        path = " → ".join(str(m.ready) for m in changes(within))
        half = began + seconds / 2
        p95 = [highest_p95_s(moments, *span) for span in ((began, half), (half, began + seconds))]
        waiting = [max((m.waiting for m in within if (m.second < half) == first), default=0) for first in (True, False)]
        counted = [f"{p95[0]:.1f}", f"{p95[1]:.1f}", str(waiting[0]), str(waiting[1])]
        lines.append([str(callers), f"{seconds:g}", path, *counted])
        began += seconds
    header = ["callers", "s", "ready replicas", "highest p95 s, first half", "second half"]
    return markdown([*header, "most waiting, first half", "second half"], lines)


async def knee(url: str, seconds: float) -> str:
    lines, seeds = [], iter(range(1_000_000))
    async with httpx.AsyncClient(base_url=url, timeout=120.0) as client:
        for callers in KNEE:
            waits: list[float] = []
            until = time.monotonic() + seconds

            async def call(waits: list[float] = waits, until: float = until) -> None:
                while (began := time.monotonic()) < until:
                    answer = await client.post("/v1/images/generations", json=drawing(next(seeds)), headers=ANEW)
                    answer.raise_for_status()
                    waits.append(time.monotonic() - began)

            began = time.monotonic()
            await asyncio.gather(*(call() for _ in range(callers)))
            lines.append((callers, len(waits) / (time.monotonic() - began), float(np.quantile(waits, 0.95))))
    best = max(rate for _, rate, _ in lines)
    target = next(callers for callers, rate, _ in lines if rate >= EXPECTED * best)
    rows = [[str(callers), f"{rate:.2f}", f"{p95:.2f}"] for callers, rate, p95 in lines]
    state = f"\n\ntarget_ongoing_requests: {target} (the fewest callers with {EXPECTED:.0%} of the best rate)"
    return markdown(["callers", "pictures/s", "p95 s"], rows) + state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="1x20,12x90,1x70", help="callers x seconds, one step after the other")
    parser.add_argument("--most", type=int, default=3, help="max_replicas")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "media" / "scaling.png")
    parser.add_argument("--knee", action="store_true", help="one replica under 1, 2, 4, ... callers")
    parser.add_argument("--seconds", type=float, default=15, help="for each of them")
    parser.add_argument("--models", type=Path, help="repository for --knee; default: the one that sleeps")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stack is ended
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = arguments.models or write_sleeping_family(folder / "models", STEP_S, PLACES)
        values = settings(models, 1 if arguments.knee else arguments.most)
        os.environ.update(stack_metrics.ENVIRONMENT)
        with running(values) as started:
            if arguments.knee:
                print(asyncio.run(knee(started.url, arguments.seconds)))
                return
            moments = run_steps(started, arguments.steps, folder)
    state = f"{STEPS} steps of {STEP_S:g} s (they sleep), {PLACES} places and a target of {PLACES} for each replica"
    print(f"1 to {arguments.most} replicas; {state}\n\n{table(moments, arguments.steps)}")
    draw_picture(moments, f"Replicas of the Illustrator under load in steps\n{state}", arguments.picture)
    print(f"\ndrawn: {arguments.picture}")


if __name__ == "__main__":
    main()
