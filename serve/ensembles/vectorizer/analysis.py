"""Looking at a picture: decode, statistics, embedding, logo type; remembered by the hash of its bytes (D-014)."""

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
from serve.vector.features import Features
from serve.vector.image import FIELD, ImageLimits
from serve.vector.rules import classify

LOGGER = logging.getLogger(__name__)
T = TypeVar("T")

REMEMBERED = 256
INSPECT_LIMIT_S = 10.0


@dataclass(frozen=True)
class ImageAnalysis:
    """What is known of a picture before it is traced. ``embedding`` is None when its engine failed."""

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
class Account:
    """What one request spent and what it had to do without."""

    deadline: float
    timings_s: dict[str, float] = field(default_factory=dict)
    degraded: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    """The engines whose answers went into the result."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of every engine that the request may ask."""

    def spend(self, stage: str, began: float) -> None:
        self.timings_s[stage] = self.timings_s.get(stage, 0.0) + time.perf_counter() - began

    async def timed(self, stage: str, work: Awaitable[T]) -> T:
        began = time.perf_counter()
        try:
            with tracing.span(stage):
                return await work
        finally:
            self.spend(stage, began)

    async def or_without(self, engine: str, instead: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """The answer of ``engine``, or None and a note: no conversion fails because a model did."""
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
    """Insights by the hash of the bytes: a picture that was seen lately costs nothing."""

    def __init__(self, workers: WorkerPool, predictors: Predictors, limits: ImageLimits) -> None:
        self._workers = workers
        self._predictors = predictors
        self._limits = limits
        self._seen: OrderedDict[tuple[str, ...], ImageAnalysis] = OrderedDict()

    async def look(self, data: bytes, account: Account) -> ImageAnalysis:
        """Raises what decoding raises; without engines the embedding is missing and the type comes from rules.

        Only an insight that needed no fallback is remembered.
        """
        of = (account.versions.get(engine, "") for engine in (EMBEDDER, CLASSIFIER))
        key = (hashlib.sha256(data).hexdigest(), *of)
        known = self._seen.get(key)
        if known is not None:
            self._seen.move_to_end(key)
            account.used.update((EMBEDDER, CLASSIFIER))
            return known
        insight = await self._look(data, account)
        if not insight.degraded:
            self._seen[key] = insight
            while len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        return insight

    async def inspect(self, data: bytes, account: Account) -> tasks.Inspection:
        """Decode and take the statistics, without any engine. A picture that no worker survives is a bad picture."""
        work = self._workers.run(account.deadline, tasks.inspect, data, self._limits, limit_s=INSPECT_LIMIT_S)
        try:
            return await account.timed("analyze", work)
        except TaskFault as fault:
            raise BadImage("cannot be decoded", FIELD) from fault

    async def _look(self, data: bytes, account: Account) -> ImageAnalysis:
        seen = await self.inspect(data, account)
        before, predictors = len(account.degraded), self._predictors.of(account.versions)
        began = time.perf_counter()
        embedding = await account.or_without(
            EMBEDDER, "fixed parameters", lambda: predictors.embed(seen.inputs, account.deadline)
        )
        account.spend("embed", began)
        began = time.perf_counter()
        probabilities = None
        if embedding is not None:
            inputs = (embedding, seen.inputs["statistics"], seen.structure)
            probabilities = await account.or_without(
                CLASSIFIER, "logo type by rules", lambda: predictors.classify(*inputs, account.deadline)
            )
        account.spend("classify", began)
        degraded = tuple(account.degraded[before:])
        return described(seen, embedding, probabilities, degraded)


def described(
    seen: tasks.Inspection,
    embedding: npt.NDArray[np.float32] | None = None,
    probabilities: dict[str, float] | None = None,
    degraded: tuple[str, ...] = (),
) -> ImageAnalysis:
    """The insight of an inspection; the logo type by rules when there are no ``probabilities``."""
    if probabilities:
        logo_type, confidence = max(probabilities.items(), key=lambda item: item[1])
        method = "trained"
    else:
        logo_type, confidence = classify(seen.features)
        probabilities, method = {}, "rules"
    return ImageAnalysis(
        sha256=seen.sha256,
        width=seen.width,
        height=seen.height,
        features=seen.features,
        embedding=embedding,
        logo_type=logo_type,
        confidence=confidence,
        probabilities=probabilities,
        method=method,
        degraded=degraded,
    )
