"""Metrics of the ensembles' work: duration, cost and quality."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

from serve.ensembles.vectorizer.vectorization import VECTORIZE, Vectorization
from serve.observability.costs import Bill, billed
from serve.observability.metrics import catalogue


@contextlib.contextmanager
def measured(ensemble: str, model: str = "none") -> Iterator[Bill]:
    """Measure one request's work, without its queue, and record its cost."""
    began, outcome = time.perf_counter(), "error"
    with billed() as bill:
        try:
            yield bill
            outcome = "ok"
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "cancelled"
            raise
        finally:
            catalogue.ENSEMBLE_SECONDS.observe(time.perf_counter() - began, ensemble, outcome)
            bill.pay(ensemble, model)


@contextlib.contextmanager
def stage(ensemble: str, name: str) -> Iterator[None]:
    """Measure a stage that completes."""
    began = time.perf_counter()
    yield
    catalogue.STAGE_SECONDS.observe(time.perf_counter() - began, ensemble, name)


def count_svg(made: Vectorization) -> None:
    catalogue.DRAWINGS.add(1, made.tier, made.tracer)
    for name, seconds in made.timings_s.items():
        catalogue.STAGE_SECONDS.observe(seconds, VECTORIZE, name)
    if made.actual_quality is not None:
        catalogue.SVG_QUALITY.observe(made.actual_quality, made.tier)
        if made.predicted_quality is not None:
            error = made.predicted_quality - made.actual_quality
            catalogue.SVG_QUALITY_ERROR.observe(abs(error), "above" if error > 0 else "below")
    if made.degraded:
        catalogue.DEGRADED.add(1, VECTORIZE)
