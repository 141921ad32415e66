"""Utility of a vectorisation: fidelity and size combined in one number.

    utility = -ln(1 - fidelity + EPSILON) - cost(ln(bytes / reference_bytes))

The first term counts error removed: halving what is left of the error is worth ln 2, at any level. The cost is
piecewise linear in the logarithm of the size: steep above the reference, so that bytes need a matching reduction of
error, and gentle below it, so that of two equal drawings the smaller wins, but detail is not lost to save
bytes needlessly.

``reference_bytes`` is half of what VTracer writes with its defaults and path precision 2 (`reference_parameters`).
In training and benchmarks that is measured. In serving it is predicted: the `quality` engine scores the candidate row
of `reference_parameters()` in the same batch as all others, and a little less than half of its ``2 ** log2_bytes`` is
the reference, since forecasts err. It only has to be the same for all candidates of one picture. Where no prediction is
at hand, `reference_from_area` stands in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from serve.vector.parameters import VTracerParameters

EPSILON = 1e-3
"""SSIM differences closer to 1 than this are invisible and not worth any bytes."""
WEIGHT_OVER = 0.4
"""Cost of a factor of e in bytes above the reference."""
WEIGHT_UNDER = 0.1
"""Gain of a factor of e in bytes below the reference."""
_BYTES_PER_SQRT_PIXEL = 22.0


def utility(
    fidelity: npt.ArrayLike, size_bytes: npt.ArrayLike, reference_bytes: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Utility of drawings with ``fidelity`` (SSIM, at most 1) and ``size_bytes``; broadcasts, and gives their shape.

    With a single candidate the result has shape (): ``float()`` it.
    """
    error = 1.0 - np.minimum(np.asarray(fidelity, np.float64), 1.0) + EPSILON
    excess = np.log(np.maximum(np.asarray(size_bytes, np.float64), 1.0) / np.maximum(reference_bytes, 1.0))
    cost = np.where(excess > 0, WEIGHT_OVER, WEIGHT_UNDER) * excess
    result: npt.NDArray[np.float64] = -np.log(error) - cost
    return result


def reference_parameters(**changed: Any) -> VTracerParameters:
    """VTracer's defaults with path precision 2: the baseline that sizes are measured against."""
    return VTracerParameters(path_precision=2, **changed)


def reference_from_area(width: int, height: int) -> float:
    """An estimate of ``reference_bytes`` from the size in pixels alone: about 5.6 KB at 256 x 256."""
    return float(_BYTES_PER_SQRT_PIXEL * np.sqrt(width * height))
