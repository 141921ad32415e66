"""Input and output values of the Vectorizer: frozen, picklable, light to import.

Gateways use them without loading a tracer; ``serve.ensembles.vectorizer.vectorizer`` implements the service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from serve.engines.service import EngineService
from serve.ensembles.ranges import check_number
from serve.errors import InvalidRequest

VECTORIZE = "vectorize"
"""Name of the Vectorizer in metrics."""
EMBEDDER = "image_features"
CLASSIFIER = "logo_type"
QUALITY = "quality"
TIER1 = "tier1"
POLICY = "policy"
ENGINES = (EMBEDDER, CLASSIFIER, QUALITY, TIER1, POLICY)
"""Engines of the Vectorizer."""
NO_VERSIONS: Mapping[str, str] = {}
Tier = Literal["auto", "basic", 1, 2, 3]
TIERS: tuple[Tier, ...] = get_args(Tier)


@dataclass(frozen=True)
class VectorizeOptions:
    """Options of a conversion. Raises ``InvalidRequest`` with the field's name for values out of range."""

    tier: Tier = "auto"
    target_quality: float = 0.9
    """SSIM that `auto` aims at, 0 to 1."""
    time_budget_s: float | None = None
    """Time budget in seconds, above 0."""
    max_bytes: int | None = None
    max_paths: int | None = None
    validate: bool = False
    """Render the result and report its measured quality."""
    timeout_s: float | None = None
    """Limit in seconds, after which the request fails."""
    engine_versions: Mapping[str, str] = field(default_factory=dict)
    """Engine versions selected by the site for this request (`serve.releases.rollouts`), by engine; never by
    callers."""

    def __post_init__(self) -> None:
        if isinstance(self.tier, bool) or self.tier not in TIERS:
            raise InvalidRequest(f"must be one of {', '.join(str(tier) for tier in TIERS)}", "tier")
        check_number(self.target_quality, "target_quality", 0.0, 1.0)
        check_number(self.time_budget_s, "time_budget_s", 0.001, 600.0)
        check_number(self.timeout_s, "timeout_s", 0.001, 3600.0)
        check_number(self.max_bytes, "max_bytes", 100, 2**31 - 1)
        check_number(self.max_paths, "max_paths", 1, 2**31 - 1)


@dataclass(frozen=True)
class Vectorization:
    """An SVG with its parameters and measurements (D-054)."""

    svg: str
    logo_type: str
    confidence: float
    tier: str
    tracer: str
    predicted_quality: float | None
    actual_quality: float | None
    bytes: int
    paths: int
    parameters: Mapping[str, Any]
    model_versions: Mapping[str, str]
    timings_s: Mapping[str, float]
    input_sha256: str
    width: int
    height: int
    processing_time_s: float
    degraded: Sequence[str] = ()
    """Requests that could not be met, and their substitutes."""
    cost: Mapping[str, float] = field(default_factory=dict)
    """Cost (`serve.observability.costs`); empty: not measured."""


TIME_BUDGET = "time_budget_s"
_NOT_REACHED = "was not reached"


def unmet_note(name: str, wanted: float | None, got: float | None) -> str:
    """A note for ``degraded``: a requested limit that the picture or the time does not allow."""
    return f"{name} {wanted} {_NOT_REACHED}: {got}"


def is_lasting(degraded: Sequence[str]) -> bool:
    """Whether a repetition would give the same notes: no engine failed and no time ran out."""
    return all(_NOT_REACHED in note and not note.startswith(TIME_BUDGET) for note in degraded)


@dataclass(frozen=True)
class TierForecast:
    """Expected result and duration of a tier. ``quality``: SSIM, None if it cannot be predicted."""

    quality: float | None
    bytes: int | None
    seconds: float


@dataclass(frozen=True)
class Analysis:
    """Analysis of a picture without conversion (D-014, D-053)."""

    features: Mapping[str, float]
    logo_type: str
    confidence: float
    recommended_tier: str
    width: int
    height: int
    input_sha256: str
    processing_time_s: float
    method: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    forecasts: Mapping[str, TierForecast] = field(default_factory=dict)
    """By tier."""
    model_versions: Mapping[str, str] = field(default_factory=dict)
    degraded: Sequence[str] = ()


class Vectorizes(Protocol):
    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization: ...


class VectorizerService(Vectorizes, EngineService, Protocol):
    """The Vectorizer, or its proxy across a Ray hop."""

    async def analyze(self, data: bytes, engine_versions: Mapping[str, str] = NO_VERSIONS) -> Analysis: ...
