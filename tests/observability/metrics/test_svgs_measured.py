"""Metrics of traced drawings."""

from __future__ import annotations

import itertools

from serve.ensembles.measurements import count_svg
from serve.ensembles.vectorizer.vectorization import Vectorization
from serve.observability.metrics.catalogue import SVG_QUALITY_ERROR


def made(predicted: float | None, measured: float | None) -> Vectorization:
    return Vectorization("<svg/>", "simple", 1.0, "1", "coverage", predicted, measured, 6, 1, {}, {}, {}, "", 8, 8, 0.1)


def test_prediction_errors_above_and_below_are_monotonic_sums() -> None:
    sums_over_time: list[tuple[float, float]] = []
    before = [(SVG_QUALITY_ERROR.count(way), SVG_QUALITY_ERROR.sum(way)) for way in ("above", "below")]
    for predicted, measured in ((0.9, 0.8), (0.7, 0.8), (0.95, 0.75), (None, 0.9), (0.9, None)):
        count_svg(made(predicted, measured))
        sums_over_time.append((SVG_QUALITY_ERROR.sum("above"), SVG_QUALITY_ERROR.sum("below")))
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(sums_over_time))
    counts, sums = zip(
        *((SVG_QUALITY_ERROR.count(way) - count, round(SVG_QUALITY_ERROR.sum(way) - sum_, 6))
          for way, (count, sum_) in zip(("above", "below"), before, strict=True)), strict=True,
    )  # fmt: skip
    assert (counts, sums) == ((2, 1), (0.3, 0.1))
