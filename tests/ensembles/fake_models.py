"""Answers of the five engines for FakeEngines: simple functions of their inputs, in the shapes of the contracts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.vector.features import STATISTICS
from serve.vector.parameters import CoverageParameters, to_candidate
from serve.vector.structure import STRUCTURE

Arrays = Mapping[str, NDArray[Any]]


def embed(inputs: Arrays) -> Arrays:
    assert inputs["pixels"].shape[1:] == (128, 128, 4)
    assert inputs["detail"].shape[1:] == (128, 128, 4)
    assert inputs["statistics"].dtype == np.float32
    means = inputs["pixels"].reshape(len(inputs["pixels"]), -1, 4).mean(1) / 255
    return {"embedding": np.tile(means, 128).astype(np.float32)}


def classify(inputs: Arrays) -> Arrays:
    assert {name: array.shape for name, array in inputs.items()} == {
        "embedding": (1, 512),
        "statistics": (1, STATISTICS),
        "structure": (1, STRUCTURE),
    }
    return {"probabilities": np.array([[0.7, 0.1, 0.15, 0.05]], np.float32)}


def suggest(inputs: Arrays) -> Arrays:
    return {"parameters": to_candidate(CoverageParameters(tolerance=0.3))[None]}


def act(inputs: Arrays) -> Arrays:
    row = to_candidate(CoverageParameters(tolerance=0.2))
    return {"action": row[None, 1:-1], "log_std": np.full((1, 8), -2.0, np.float32)}


def predict(quality: float = 0.97) -> Callable[[Arrays], Arrays]:
    """A fine tolerance is better and larger; VTracer is worse and larger."""

    def answer(inputs: Arrays) -> Arrays:
        rows = inputs["parameters"]
        ssim = quality - 0.05 * rows[..., 5] - 0.05 * rows[..., 0]
        zeros = np.zeros_like(ssim)
        log2_bytes = 12 - 2 * rows[..., 5] + rows[..., 0]
        return {
            "ssim": ssim,
            "fidelity": ssim,
            "log2_bytes": log2_bytes,
            "log2_ms": zeros + 5,
            "log2_paths": zeros + 3,
        }

    return answer


def models(quality: float = 0.97) -> dict[str, Any]:
    return {
        "image_features": embed,
        "logo_type": classify,
        "tier1": suggest,
        "policy": act,
        "quality": predict(quality),
    }
