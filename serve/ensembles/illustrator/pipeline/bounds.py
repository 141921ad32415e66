"""Limits of a direct inference on a family's engines: no more than drawing itself may request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.diffusion.family import Family
from serve.diffusion.tokens import MAX_CHUNKS
from serve.engines.adapter_files import IDS, SCALES
from serve.errors import InvalidRequest, TooLarge


def check_engine_inputs(family: Family, engine: str, inputs: Mapping[str, npt.NDArray[Any]]) -> None:
    """Raises ``TooLarge`` with the input's name, if ``engine`` is one of ``family``'s.

    Attention's memory grows with the fourth power of a picture's side. The batch is bounded by the engine's
    ``max_batch_size``.
    """
    if engine not in family.engines:
        return
    for name in (IDS, SCALES):
        if name in inputs and np.any(inputs[name]):
            raise InvalidRequest("is for drawings; it has to be 0 in a direct inference", name)
    side = family.sizes.max_px // family.latents.downsample
    tokens = MAX_CHUNKS * max(encoder.max_tokens for encoder in family.text)
    longest: dict[str, tuple[int | None, ...]] = {
        "sample": (None, None, side, side),
        "latents": (None, None, side, side),
        "image": (None, family.sizes.max_px, family.sizes.max_px, None),
        "encoder_hidden_states": (None, tokens, None),
    }
    for name, array in inputs.items():
        for axis, (size, most) in enumerate(zip(array.shape, longest.get(name, ()), strict=False)):
            if most is not None and size > most:
                raise TooLarge(f"has {size} on axis {axis}; model '{family.name}' takes at most {most}", name)
