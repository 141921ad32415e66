"""Pictures that the Vectorizer's tests convert, and the call that converts them."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from serve.ensembles.vectorizer.vectorization import Vectorization, VectorizeOptions
from serve.ensembles.vectorizer.vectorizer import Vectorizer

in_module_loop = pytest.mark.asyncio(loop_scope="module")


def logo(seed: int = 0, side: int = 96) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    rgb = np.full((side, side, 3), 255, np.uint8)
    for _ in range(6):
        centre = tuple(int(v) for v in rng.integers(10, side - 10, 2))
        cv2.circle(rgb, centre, int(rng.integers(6, side // 4)), rng.integers(0, 256, 3).tolist(), -1, cv2.LINE_AA)
    return np.dstack([rgb, np.full((side, side), 255, np.uint8)])


def png(rgba: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgba).save(out, "PNG")
    return out.getvalue()


DATA = png(logo())


async def convert(vectorizer: Vectorizer, data: bytes = DATA, **options: Any) -> Vectorization:
    return await vectorizer.vectorize(data, VectorizeOptions(**options))
