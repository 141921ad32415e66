"""The simulation against what it simulates: the starter family in its embedded Triton, one replica, the same arrivals.

The curve is measured just before, on the same machine, and so are the times beside the engine. Then requests come at
two loads, to the real Illustrator and to the simulated replica.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadtests.illustrate.policies import Arrival, StepLevel, arrivals, serve
from loadtests.simulate.curve import Curve
from loadtests.simulate.replica import Picture
from loadtests.simulate.simulation import BATCHING, OURS, Demand, Site, simulate
from loadtests.vectorize.table import markdown
from serve.ensembles.batch_profile import profile
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.settings import IllustratorSettings

UNET, ROWS = "mini_unet", 2
"""Guidance takes two rows of a batch for a picture."""
STEPS = (8, 30)
LOADS = (0.3, 0.7)
ALONE = 8


@dataclass(frozen=True)
class Compared:
    load: float
    simulated_s: Sequence[float]
    measured_s: Sequence[float]

    def row(self, share: float) -> list[str]:
        ours, theirs = float(np.quantile(self.simulated_s, share)), float(np.quantile(self.measured_s, share))
        return [f"{self.load:.0%}", f"p{share * 100:.0f}", f"{ours:.3f}", f"{theirs:.3f}", f"{ours / theirs - 1:+.0%}"]


async def measured_curve(illustrator: Illustrator, settings: IllustratorSettings) -> Curve:
    """Of this machine, now. What steps and pictures take beside the engine is from pictures drawn alone."""
    found = await profile(settings.model_repository, UNET, "this machine")
    milliseconds = {rows // ROWS: ms for rows, ms in found.milliseconds.items() if rows >= ROWS}
    few_s, many_s = [await _alone_s(illustrator, steps) for steps in STEPS]
    step_s = (many_s - few_s) / (STEPS[1] - STEPS[0])
    between_ms = max(0.0, step_s * 1e3 - milliseconds[1])
    fixed_ms = max(0.0, (few_s - STEPS[0] * step_s) * 1e3)
    return Curve("this machine", "measured by loadtests.simulate.validate", milliseconds, between_ms, fixed_ms)


async def _alone_s(illustrator: Illustrator, steps: int) -> float:
    """Median."""
    taken = []
    for seed in range(ALONE + 1):
        began = time.perf_counter()
        await illustrator.draw(IllustrateOptions("red apple flat", num_inference_steps=steps, seed=seed))
        taken.append(time.perf_counter() - began)
    return float(np.median(taken[1:]))


def simulated(curve: Curve, wanted: Sequence[Arrival]) -> list[float]:
    """Latencies of the same arrivals, in seconds."""
    simulated_pictures = [Picture(one.at_s, one.steps) for one in wanted]
    simulate(Site(curve, BATCHING[OURS], 1), simulated_pictures)
    return [(one.done_s or 0.0) - one.arrived_s for one in simulated_pictures]


async def compare(requests: int, loads: Sequence[float] = LOADS) -> tuple[Curve, list[Compared]]:
    settings = IllustratorSettings(families=("mini",))
    illustrator = Illustrator(settings)
    await illustrator.start()
    try:
        curve = await measured_curve(illustrator, settings)
        most = curve.per_second(Demand(STEPS).mean_steps)
        found = []
        for number, load in enumerate(loads):
            wanted = arrivals(requests, load * most, number, STEPS)
            served, _ = await serve(StepLevel(illustrator), wanted)
            found.append(Compared(load, simulated(curve, wanted), [one.latency_s for one in served]))
        return curve, found
    finally:
        await illustrator.close()


def validate(requests: int) -> str:
    curve, found = asyncio.run(compare(requests))
    curve_text = ", ".join(f"{n}: {ms:.1f}" for n, ms in curve.milliseconds.items())
    print(f"milliseconds by pictures in a batch: {curve_text}")
    print(f"between steps {curve.between_ms:.1f} ms, beside the steps {curve.fixed_ms:.1f} ms\n", flush=True)
    rows = [one.row(share) for one in found for share in (0.5, 0.95)]
    return markdown(["load", "of latency", "simulated s", "measured s", "off by"], rows)
