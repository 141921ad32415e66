"""One door to both tracers: the type of the parameters names the tracer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serve.vector.coverage import trace_coverage
from serve.vector.parameters import CoverageParameters, Parameters
from serve.vector.stock import trace_vtracer


def trace(rgba: npt.NDArray[np.uint8], parameters: Parameters) -> str:
    """SVG text of ``rgba`` (shape (H, W, 4), straight alpha), with a ``viewBox`` of its size."""
    if isinstance(parameters, CoverageParameters):
        return trace_coverage(rgba, parameters)
    return trace_vtracer(rgba, parameters)


def tracer_name(parameters: Parameters) -> str:
    return "coverage" if isinstance(parameters, CoverageParameters) else "vtracer"
