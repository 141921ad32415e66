"""Both tracers behind one function, selected by the type of the parameters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serve.vector.coverage import Drawing, draw_coverage
from serve.vector.parameters import CoverageParameters, Parameters
from serve.vector.vtracer import trace_vtracer


def trace(rgba: npt.NDArray[np.uint8], parameters: Parameters) -> str:
    """SVG text of ``rgba`` (shape (H, W, 4), straight alpha), with a ``viewBox`` of its size."""
    return draw(rgba, parameters)[0]


def draw(
    rgba: npt.NDArray[np.uint8], parameters: Parameters, drawing: Drawing | None = None
) -> tuple[str, Drawing | None]:
    """As `trace`, returning the intermediate drawing for later refinement (`draw_coverage`); None for VTracer."""
    if isinstance(parameters, CoverageParameters):
        return draw_coverage(rgba, parameters, drawing)
    return trace_vtracer(rgba, parameters), None


def tracer_name(parameters: Parameters) -> str:
    return "coverage" if isinstance(parameters, CoverageParameters) else "vtracer"
