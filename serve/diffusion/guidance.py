"""Classifier-free guidance (Ho and Salimans 2022), with the rescaling of Lin et al. 2023, section 3.4."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

NO_GUIDANCE = 1.0


def is_guided(guidance_scale: float) -> bool:
    """Whether the unconditional prediction is needed: not for scales of 1 and below, as in diffusers."""
    return guidance_scale > NO_GUIDANCE


def guide(unconditional: Array, conditional: Array, guidance_scale: float, rescale: float = 0.0) -> Array:
    """The guided prediction of one picture, shape (C, H, W) like both inputs.

    ``rescale`` in [0, 1] moves the standard deviation of the result towards that of ``conditional``, which keeps
    high scales from overexposing; 0 leaves it.
    """
    scale = float(guidance_scale)
    guided: Array = unconditional + scale * (conditional - unconditional)
    if rescale == 0.0:
        return guided
    deviation = float(guided.std(dtype=np.float64))
    if deviation == 0.0:
        return guided
    ratio = float(conditional.std(dtype=np.float64)) / deviation
    return guided * float(rescale * ratio + 1.0 - rescale)
