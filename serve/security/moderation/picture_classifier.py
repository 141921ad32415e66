"""`PictureClassifier`: scores of a picture by a safety engine.

Its contract: input ``image``, FP32 [n, 3, side, side], RGB from 0 to 1 (further preprocessing is part of the model), of
the whole picture, whatever its shape; output ``scores``, FP32 [n, categories], each from 0 to 1, in the order of
`moderation.categories`. One picture per call: Triton batches concurrent calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from serve.ensembles.illustrator.illustration import Pixels
from serve.errors import EngineFailure

INPUT, OUTPUT = "image", "scores"
_ROUNDING_TOLERANCE = 1e-3
"""Allowed rounding beyond the range."""


class InferenceClient(Protocol):
    """The part of `serve.engines.client.Engines` that classification needs."""

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, npt.NDArray[Any]]: ...


class PictureClassifier:
    def __init__(
        self, client: InferenceClient, engine: str, categories: Sequence[str], side_px: int, timeout_s: float
    ) -> None:
        self._client = client
        self._engine = engine
        self._categories = categories
        self._side_px = side_px
        self._timeout_s = timeout_s

    async def scores(self, pixels: Pixels) -> dict[str, float]:
        """By category. Raises the errors of the client, and EngineFailure for an invalid output."""
        image = await asyncio.to_thread(to_input, pixels, self._side_px)
        outputs = await self._client.infer(self._engine, {INPUT: image}, outputs=[OUTPUT], timeout_s=self._timeout_s)
        scores = outputs.get(OUTPUT)
        if scores is None or scores.shape != (1, len(self._categories)):
            raise EngineFailure(f"engine '{self._engine}' gave no usable '{OUTPUT}'")
        row = scores[0].astype(np.float64)
        if not ((row >= -_ROUNDING_TOLERANCE) & (row <= 1 + _ROUNDING_TOLERANCE)).all():  # also rejects NaN
            raise EngineFailure(f"engine '{self._engine}' gave scores that are not from 0 to 1")
        return dict(zip(self._categories, row.clip(0, 1).tolist(), strict=True))


def to_input(pixels: Pixels, side_px: int) -> npt.NDArray[np.float32]:
    """Shape (1, 3, side, side), from (height, width, 3)."""
    image = Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255)
