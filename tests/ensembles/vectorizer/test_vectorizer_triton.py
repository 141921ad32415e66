"""The Vectorizer on the engines that ship, in a real Triton of its own: every tier, health, and a killed Triton."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import time
from collections.abc import AsyncIterator

import cv2
import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from serve.ensembles.vectorizer.vectorization import ENGINES, VectorizeOptions
from serve.ensembles.vectorizer.vectorizer import Vectorizer
from serve.settings import VectorizerSettings

in_module_loop = pytest.mark.asyncio(loop_scope="module")
pytestmark = pytest.mark.triton


def logo(kind: str) -> bytes:
    """One picture of each of D-070's types."""
    _, x = np.mgrid[:128, :128]
    rgb = np.full((128, 128, 3), 255, np.uint8)
    if kind == "simple":
        cv2.circle(rgb, (64, 64), 40, (220, 30, 40), -1, cv2.LINE_AA)
    elif kind == "text":
        cv2.putText(rgb, "Logo", (10, 76), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (20, 30, 90), 4, cv2.LINE_AA)
    elif kind == "gradient":
        rgb[..., 0], rgb[..., 2] = 2 * x, 255 - x
    else:
        for i in range(14):
            centre = (int(9 * i + 4), int((37 * i) % 128))
            cv2.circle(rgb, centre, 6 + i % 9, (37 * i % 256, 91 * i % 256, 180), -1, cv2.LINE_AA)
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG")
    return out.getvalue()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vectorizer() -> AsyncIterator[Vectorizer]:
    made = Vectorizer(VectorizerSettings(workers=2))
    await made.start()
    yield made
    await made.close()


@in_module_loop
async def test_every_engine_is_healthy(vectorizer: Vectorizer) -> None:
    """D-061, D-062."""
    health = await vectorizer.health()
    assert {name: one.reason for name, one in health.engines.items() if not one.ready} == {}
    assert all(health.engines[name].version not in ("", "unknown") for name in ENGINES)
    assert await vectorizer.engines() == sorted(ENGINES)


@in_module_loop
@pytest.mark.parametrize("kind", ["simple", "text", "gradient", "complex"])
@pytest.mark.parametrize("tier", ["auto", 1, 2, 3])
async def test_tiers_and_types(vectorizer: Vectorizer, tier: int, kind: str) -> None:
    """D-070: every tier on every type, validated."""
    made = await vectorizer.vectorize(logo(kind), VectorizeOptions(tier=tier, validate=True))  # type: ignore[arg-type]
    assert made.actual_quality is not None
    assert made.actual_quality > 0.7
    assert made.predicted_quality is not None
    assert made.predicted_quality > 0.7
    assert made.degraded == ()
    again = await vectorizer.vectorize(logo(kind), VectorizeOptions(tier=tier, validate=True))  # type: ignore[arg-type]
    assert again.svg == made.svg


@in_module_loop
async def test_killed_triton_does_not_fail_conversions(vectorizer: Vectorizer) -> None:
    """Conversions continue without engines, report it, and use the engines again a little later."""
    assert vectorizer.engine_set._server is not None
    os.kill(vectorizer.engine_set._server.pid, signal.SIGKILL)
    picture = logo("simple") + b" "  # not in the cache
    during = await vectorizer.vectorize(picture, VectorizeOptions(tier=2))
    assert during.tracer == "coverage"
    assert during.degraded
    end = time.monotonic() + 60
    while not (await vectorizer.health()).ready and time.monotonic() < end:  # noqa: ASYNC110 (another process)
        await asyncio.sleep(0.2)
    assert (await vectorizer.vectorize(picture, VectorizeOptions(tier=2))).degraded == ()
