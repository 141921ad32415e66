"""Searches over the coverage tracer's parameters without any model, for as long as tier 3 takes on the same picture.

What PPO is compared with: the same core time, the same judge (utility of the render against the input), no learning.
Tier 3 works on all cores and these on one, so they get its wall time times the number of cores.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadtests.vectorize.dataset import Picture
from loadtests.vectorize.ensemble import SOURCES, Running, missing_engines
from loadtests.vectorize.methods import Traced
from loadtests.vectorize.peers import SEED
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.vector.compare import Reference
from serve.vector.coverage import trace_coverage
from serve.vector.parameters import LEARNED, MAX_REFINE, CoverageParameters, reference_parameters, utility
from serve.vector.trace import trace_vtracer

STEP = 0.15
"""Standard deviation of a local step in the unit box."""


@dataclass
class EqualTime:
    """``local``: steps from the best so far, starting at the fixed parameters; else uniform draws, as PPO's rival."""

    name: str
    title: str
    local: bool
    sources: tuple[str, ...] = (*SOURCES, "loadtests/vectorize/search.py")

    def missing(self) -> str | None:
        return missing_engines()

    def open(self) -> None:
        Running.acquire()

    def close(self) -> None:
        Running.release()

    def trace(self, picture: Picture) -> Traced:
        """Tier 3 is run first, for its time; the time to find the judge's reference size is not counted."""
        wall_ms = Running.vectorize(picture.png(self.name), VectorizeOptions(tier=3)).ms
        allowed_ms = wall_ms * (os.cpu_count() or 1)
        reference_bytes = len(trace_vtracer(picture.rgba, reference_parameters())) / 2
        start = time.perf_counter()
        svg, tries = self._search(picture, reference_bytes, start + allowed_ms / 1e3)
        return Traced(svg, (time.perf_counter() - start) * 1e3, {"tries": tries, "allowed_ms": allowed_ms})

    def _search(self, picture: Picture, reference_bytes: float, until: float) -> tuple[str, int]:
        """At least one try; the last one may end after ``until``."""
        rng = np.random.default_rng(SEED)
        judge = Reference(picture.rgba)
        best_svg, best_value, best_unit, tries = "", -np.inf, CoverageParameters().to_unit(), 0
        while tries == 0 or time.perf_counter() < until:
            unit = self._next(rng, best_unit, tries)
            refine = int(rng.integers(MAX_REFINE + 1))
            svg = trace_coverage(picture.rgba, CoverageParameters.from_unit(unit, refine=refine))
            value = float(utility(judge.fidelity(svg).ssim, len(svg), reference_bytes))
            if value > best_value:
                best_svg, best_value, best_unit = svg, value, unit
            tries += 1
        return best_svg, tries

    def _next(self, rng: np.random.Generator, best: npt.NDArray[np.float32], tries: int) -> npt.NDArray[np.float32]:
        if not self.local:
            return rng.random(LEARNED, np.float32)
        if tries == 0:
            return best
        return np.clip(best + rng.normal(0, STEP, LEARNED), 0, 1).astype(np.float32)


def searches() -> list[EqualTime]:
    return [
        EqualTime("random_search", "random search, tier 3's time", local=False),
        EqualTime("local_search", "local search from fixed parameters, tier 3's time", local=True),
    ]
