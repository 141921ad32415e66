"""What a trace is worth: fidelity together with size, by the same utility that serving chooses with.

``true_reward`` judges measured traces with ``serve.vector.parameters``; ``predicted_reward`` is the same formula in
torch, differentiable, on the `quality` network's predictions (a test holds it to the original). Both are gains over
VTracer's defaults with path precision 2, and may charge time beyond a limit: ``max(0, ms / limit - 1)``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from build_engines.labels.candidates import BASELINE
from build_engines.train.networks import Quality
from serve.vector.parameters import EPSILON, WEIGHT_OVER, WEIGHT_UNDER, to_candidate, utility

Floats = npt.NDArray[np.float32]
TIER1_LIMIT_MS = 120.0
"""Tracing beyond this costs tier 1 reward: its whole conversion has 200 ms (D-055)."""


def true_reward(measures: Floats, baseline: Floats, limit_ms: float = math.inf) -> Floats:
    """``measures`` (N, K, 5) in the order of MEASURES, ``baseline`` (N, 5) of VTracer → rewards (N, K)."""
    reference = baseline[:, 2] / 2
    gain = utility(measures[..., 1], measures[..., 2], reference[:, None])
    start = utility(baseline[:, 1], baseline[:, 2], reference)
    late = np.maximum(0.0, measures[..., 4] / limit_ms - 1)
    return np.asarray(gain - start[:, None] - late, np.float32)


def predicted_reward(quality: Quality, embedding: Tensor, rows: Tensor, limit_ms: float = math.inf) -> Tensor:
    """``embedding`` (N, 512), candidate ``rows`` (N, K, 10) → rewards (N, K), the baseline predicted as well."""
    baseline = torch.from_numpy(to_candidate(BASELINE)).expand(len(rows), 1, -1)
    out = quality.logarithms(embedding, torch.cat([baseline, rows], dim=1))
    error = -torch.log(torch.exp2(out[..., 1].clamp(max=0.0)) + EPSILON)
    excess = (out[..., 2] - out[:, :1, 2] + 1.0) * math.log(2)
    worth = error - torch.where(excess > 0, WEIGHT_OVER, WEIGHT_UNDER) * excess
    late = (torch.exp2(out[..., 3].clamp(max=14.0)) / limit_ms - 1).clamp(min=0.0)
    return worth[:, 1:] - worth[:, :1] - late[:, 1:]
