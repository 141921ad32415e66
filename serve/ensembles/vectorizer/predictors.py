"""Typed calls to the trained engines: one method per engine, with checked outputs."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serve.ensembles.vectorizer.vectorization import CLASSIFIER, EMBEDDER, POLICY, QUALITY, TIER1
from serve.errors import DeadlineExceeded, EngineFailure, EngineUnavailable
from serve.vector.features import LOGO_TYPES
from serve.vector.parameters import CANDIDATE_WIDTH, LEARNED

Floats = npt.NDArray[np.float32]

EMBEDDING_WIDTH = 512
_COOLDOWN_S = 5.0  # after a timeout an engine is not called for this long


class InferenceClient(Protocol):
    """The part of `serve.engines.client.EngineClient` that prediction needs."""

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, npt.NDArray[Any]]: ...


@dataclass(frozen=True)
class Scores:
    """Predictions for n candidates, each of shape (n,).

    ``ssim``: against the input picture. ``fidelity``: against the picture before degradation. ``bytes``, ``paths`` and
    ``seconds`` (one core of the reference machine) are linear, not logarithmic.
    """

    ssim: Floats
    fidelity: Floats
    bytes: Floats
    seconds: Floats
    paths: Floats

    def __getitem__(self, index: Any) -> Scores:
        return Scores(self.ssim[index], self.fidelity[index], self.bytes[index], self.seconds[index], self.paths[index])


class Predictors:
    """Methods raise errors of the client, EngineFailure for outputs of a wrong shape or not finite, and
    EngineUnavailable for an engine that recently timed out."""

    def __init__(self, client: InferenceClient, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._cooldown_until: dict[tuple[str, str], float] = {}
        self._versions: Mapping[str, str] = {}

    def of(self, versions: Mapping[str, str]) -> Predictors:
        """A copy bound to these engine versions."""
        bound = copy.copy(self)
        bound._versions = versions
        return bound

    async def embed(self, inputs: Mapping[str, npt.NDArray[Any]], deadline: float) -> Floats:
        """Embedding, shape (512,), from the inputs of `serve.vector.features.network_input`."""
        batch = {name: array[None] for name, array in inputs.items()}
        found = await self._ask(EMBEDDER, batch, {"embedding": (1, EMBEDDING_WIDTH)}, deadline)
        embedding: Floats = found["embedding"][0]
        return embedding

    async def classify(
        self, embedding: Floats, statistics: Floats, structure: Floats, deadline: float
    ) -> dict[str, float]:
        """Probability by logo type; ``statistics``: `Features.to_vector`, ``structure``: `Structure.to_vector`."""
        shape = {"probabilities": (1, len(LOGO_TYPES))}
        inputs = {"embedding": embedding[None], "statistics": statistics[None], "structure": structure[None]}
        found = await self._ask(CLASSIFIER, inputs, shape, deadline)
        return {name: float(p) for name, p in zip(LOGO_TYPES, found["probabilities"][0], strict=True)}

    async def suggest(self, embedding: Floats, deadline: float) -> Floats:
        """Tier 1's candidate row, shape (10,)."""
        shape = {"parameters": (1, CANDIDATE_WIDTH)}
        found = await self._ask(TIER1, {"embedding": embedding[None]}, shape, deadline)
        row: Floats = found["parameters"][0]
        return row

    async def act(self, embedding: Floats, deadline: float) -> tuple[Floats, Floats]:
        """The policy's mean action and standard deviation, each of shape (8,), in unit values."""
        shape = {"action": (1, LEARNED), "log_std": (1, LEARNED)}
        found = await self._ask(POLICY, {"embedding": embedding[None]}, shape, deadline)
        return np.clip(found["action"][0], 0, 1), np.exp(np.clip(found["log_std"][0], -5, 0))

    async def score(self, embedding: Floats, rows: Floats, deadline: float) -> Scores:
        """Predictions for candidate rows, shape (n, 10), in one call."""
        names = ("ssim", "fidelity", "log2_bytes", "log2_ms", "log2_paths")
        inputs = {"embedding": embedding[None], "parameters": np.asarray(rows, np.float32)[None]}
        found = await self._ask(QUALITY, inputs, dict.fromkeys(names, (1, len(rows))), deadline)
        ssim, fidelity, log2_bytes, log2_ms, log2_paths = (found[name][0] for name in names)
        return Scores(
            ssim=np.clip(ssim, 0, 1),
            fidelity=np.clip(fidelity, 0, 1),
            bytes=np.exp2(np.clip(log2_bytes, 5, 28)),
            seconds=np.exp2(np.clip(log2_ms, -4, 20)) / 1000,
            paths=np.exp2(np.clip(log2_paths, 0, 20)),
        )

    async def _ask(
        self,
        engine: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        shapes: Mapping[str, tuple[int, ...]],
        deadline: float,
    ) -> dict[str, Floats]:
        now, version = time.monotonic(), self._versions.get(engine, "")
        if self._cooldown_until.get((engine, version), 0.0) > now:
            raise EngineUnavailable(f"engine '{engine}' did not answer in time a moment ago")
        limit_s = max(0.001, min(self._timeout_s, deadline - now))
        try:
            found = await self._client.infer(engine, inputs, outputs=list(shapes), timeout_s=limit_s, version=version)
        except DeadlineExceeded:
            if limit_s >= self._timeout_s:
                self._cooldown_until[engine, version] = time.monotonic() + _COOLDOWN_S
            raise
        for name, shape in shapes.items():
            array = found.get(name)
            if array is None or array.shape != shape or not np.isfinite(array).all():
                raise EngineFailure(f"engine '{engine}' gave no usable '{name}'")
        return {name: np.asarray(found[name], np.float32) for name in shapes}
