"""Image analysis: decoding, statistics, embedding, logo type; cached by the hash of the bytes (D-014)."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from serve.ensembles.vectorizer import tasks
from serve.ensembles.vectorizer.predictors import Predictors
from serve.ensembles.vectorizer.vectorization import CLASSIFIER, EMBEDDER
from serve.ensembles.vectorizer.worker_pool import TaskFault, WorkerPool
from serve.errors import AtelierError, BadImage, Cancelled, DeadlineExceeded
from serve.observability import tracing
from serve.vector.features import Features, classify
from serve.vector.image import FIELD, ImageLimits

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
    )
