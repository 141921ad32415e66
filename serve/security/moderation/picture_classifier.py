"""`PictureClassifier`: a safety engine's scores of a picture.

Its contract: input ``image``, FP32 [n, 3, side, side], RGB from 0 to 1 (what else the model wants is in its graph), of
the whole picture, whatever its shape was; output ``scores``, FP32 [n, categories], each from 0 to 1, in the order of
`moderation.categories`. One picture a call: Triton's batcher puts together what comes at once.
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
_SLACK = 1e-3
"""How far rounding may lead out of the range."""


class InferenceClient(Protocol):
    """The part of `serve.engines.client.EngineClient` that judging needs."""

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
        """By category. Raises the errors of the client, and EngineFailure for an answer that is none."""
        image = await asyncio.to_thread(as_input, pixels, self._side_px)
        found = await self._client.infer(self._engine, {INPUT: image}, outputs=[OUTPUT], timeout_s=self._timeout_s)
        scores = found.get(OUTPUT)
        if scores is None or scores.shape != (1, len(self._categories)):
            raise EngineFailure(f"engine '{self._engine}' gave no usable '{OUTPUT}'")
        row = scores[0].astype(np.float64)
        if not ((row >= -_SLACK) & (row <= 1 + _SLACK)).all():  # nor is what is not a number
            raise EngineFailure(f"engine '{self._engine}' gave scores that are not from 0 to 1")
        return dict(zip(self._categories, row.clip(0, 1).tolist(), strict=True))


def as_input(pixels: Pixels, side_px: int) -> npt.NDArray[np.float32]:
    """Shape (1, 3, side, side), of (height, width, 3)."""
    image = Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255)
