"""Warming: compile or load every kernel before the first request."""

from __future__ import annotations

import numpy as np

from serve.vector.coverage.tracer import trace_coverage
from serve.vector.parameters import CoverageParameters


def warm() -> None:
    """Trace pictures that together reach every kernel with every argument type: about 1 s from numba's cache, about a
    minute when compiling."""
    y, x = np.mgrid[0:64, 0:64].astype(np.float32)
    picture = np.full((64, 64, 4), 255, np.uint8)
    picture[8:24, 8:56, :3] = (200, 30, 40)
    picture[28:60, 4:30, 0] = (x[28:60, 4:30] * 8).astype(np.uint8)
    bowl = np.clip(255 - np.hypot(x - 46, y - 44) * 9, 0, 255).astype(np.uint8)
    picture[30:58, 34:60, 1] = bowl[30:58, 34:60]
    picture[12:20, 12:20, :3] = np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * 4
    picture[:6, :, 3] = 0
    trace_coverage(picture, CoverageParameters(denoise=12.0, refine=1))
    trace_coverage(np.zeros((4, 4, 4), np.uint8), CoverageParameters())
