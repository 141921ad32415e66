"""Image analysis: decoding, statistics, embedding, logo type; cached by the hash of the bytes (D-014).

`Predictors` are typed calls to the trained engines: one method per engine, with checked outputs."""

from __future__ import annotations

import copy
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from serve.engines.service import InferenceClient
from serve.ensembles.vectorizer import tasks
from serve.ensembles.vectorizer.vectorization import CLASSIFIER, EMBEDDER, EMBEDDING_WIDTH, POLICY, QUALITY, TIER1
from serve.ensembles.vectorizer.worker_pool import TaskFault, WorkerPool
from serve.errors import AtelierError, BadImage, Cancelled, DeadlineExceeded, EngineFailure, EngineUnavailable
from serve.observability import tracing
from serve.vector.features import LOGO_TYPES, Features, classify
from serve.vector.image import FIELD, ImageLimits
from serve.vector.parameters import CANDIDATE_WIDTH, LEARNED

Floats = npt.NDArray[np.float32]

_COOLDOWN_S = 5.0  # after a timeout an engine is not called for this long


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


LOGGER = logging.getLogger(__name__)
T = TypeVar("T")

CACHE_SIZE = 256
INSPECT_LIMIT_S = 10.0


@dataclass(frozen=True)
class ImageAnalysis:
    """Analysis of a picture before tracing. ``embedding`` is None if its engine failed."""

    sha256: str
    width: int
    height: int
    features: Features
    embedding: npt.NDArray[np.float32] | None
    logo_type: str
    confidence: float
    probabilities: dict[str, float]
    method: str
    degraded: tuple[str, ...]
    pictorial: bool = False
    """A photograph, a painting or a scan."""


@dataclass
class ConversionContext:
    """State of one request: its deadline, timings, and degradations."""

    deadline: float
    timings_s: dict[str, float] = field(default_factory=dict)
    degraded: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    """Engines whose outputs are part of the result."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of all engines of the request."""

    def add_time(self, stage: str, began: float) -> None:
        self.timings_s[stage] = self.timings_s.get(stage, 0.0) + time.perf_counter() - began

    async def timed(self, stage: str, work: Awaitable[T]) -> T:
        began = time.perf_counter()
        try:
            with tracing.span(stage):
                return await work
        finally:
            self.add_time(stage, began)

    async def run_or_degrade(self, engine: str, instead: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """The result of ``engine``, or None with a note in ``degraded``: a failed model does not fail the
        conversion."""
        try:
            answer = await work()
        except Cancelled:
            raise
        except AtelierError as error:
            if isinstance(error, DeadlineExceeded) and time.monotonic() >= self.deadline:
                raise
            LOGGER.warning("engine %s failed, %s instead: %s", engine, instead, error)
            self.degraded.append(f"{engine} failed ({error.title.lower()}): {instead}")
            return None
        self.used.add(engine)
        return answer


class ImageAnalyzer:
    """Analyses pictures, with a cache by content hash."""

    def __init__(self, workers: WorkerPool, predictors: Predictors, limits: ImageLimits) -> None:
        self._workers = workers
        self._predictors = predictors
        self._limits = limits
        self._cache: OrderedDict[tuple[str, ...], ImageAnalysis] = OrderedDict()

    async def analyze(self, data: bytes, context: ConversionContext) -> ImageAnalysis:
        """Raises decoding errors. Without engines the embedding is missing and the type comes from rules.

        Only complete analyses are cached.
        """
        of = (context.versions.get(engine, "") for engine in (EMBEDDER, CLASSIFIER))
        key = (hashlib.sha256(data).hexdigest(), *of)
        known = self._cache.get(key)
        if known is not None:
            self._cache.move_to_end(key)
            context.used.update((EMBEDDER, CLASSIFIER))
            return known
        analysis = await self._analyze(data, context)
        if not analysis.degraded:
            self._cache[key] = analysis
            while len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        return analysis

    async def inspect(self, data: bytes, context: ConversionContext) -> tasks.Inspection:
        """Decode and compute statistics, without engines. A picture that crashes its worker twice is a BadImage."""
        work = self._workers.run(context.deadline, tasks.inspect, data, self._limits, limit_s=INSPECT_LIMIT_S)
        try:
            return await context.timed("analyze", work)
        except TaskFault as fault:
            raise BadImage("cannot be decoded", FIELD) from fault

    async def _analyze(self, data: bytes, context: ConversionContext) -> ImageAnalysis:
        inspection = await self.inspect(data, context)
        before, predictors = len(context.degraded), self._predictors.of(context.versions)
        began = time.perf_counter()
        embedding = await context.run_or_degrade(
            EMBEDDER, "fixed parameters", lambda: predictors.embed(inspection.inputs, context.deadline)
        )
        context.add_time("embed", began)
        began = time.perf_counter()
        probabilities = None
        if embedding is not None:
            inputs = (embedding, inspection.inputs["statistics"], inspection.structure)
            probabilities = await context.run_or_degrade(
                CLASSIFIER, "logo type by rules", lambda: predictors.classify(*inputs, context.deadline)
            )
        context.add_time("classify", began)
        degraded = tuple(context.degraded[before:])
        return build_analysis(inspection, embedding, probabilities, degraded)


def build_analysis(
    inspection: tasks.Inspection,
    embedding: npt.NDArray[np.float32] | None = None,
    probabilities: dict[str, float] | None = None,
    degraded: tuple[str, ...] = (),
) -> ImageAnalysis:
    """Analysis from an inspection; the logo type comes from rules if there are no ``probabilities``."""
    if probabilities:
        logo_type, confidence = max(probabilities.items(), key=lambda item: item[1])
        method = "trained"
    else:
        logo_type, confidence = classify(inspection.features)
        probabilities, method = {}, "rules"
    return ImageAnalysis(
        sha256=inspection.sha256,
        width=inspection.width,
        height=inspection.height,
        features=inspection.features,
        embedding=embedding,
        logo_type=logo_type,
        confidence=confidence,
        probabilities=probabilities,
        method=method,
        degraded=degraded,
        pictorial=inspection.pictorial,
    )
