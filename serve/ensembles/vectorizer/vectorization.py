"""What goes into the Vectorizer and what comes out: plain, frozen, picklable values, light to import.

The gateway speaks these without loading a tracer; ``serve.ensembles.vectorizer.vectorizer`` implements them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from serve.engines.service import EngineService
from serve.ensembles.ranges import check_number
from serve.errors import InvalidRequest

VECTORIZE = "vectorize"
"""The Vectorizer, as metrics name it."""
EMBEDDER = "image_features"
CLASSIFIER = "logo_type"
QUALITY = "quality"
TIER1 = "tier1"
POLICY = "policy"
ENGINES = (EMBEDDER, CLASSIFIER, QUALITY, TIER1, POLICY)
"""Of the Vectorizer."""
NO_VERSIONS: Mapping[str, str] = {}
Tier = Literal["auto", "basic", 1, 2, 3]
TIERS: tuple[Tier, ...] = get_args(Tier)


@dataclass(frozen=True)
class VectorizeOptions:
    """What a caller may ask for. Raises ``InvalidRequest`` with the field's name when a value is out of range."""

    tier: Tier = "auto"
    target_quality: float = 0.9
    """SSIM that `auto` should reach, from 0 to 1."""
    time_budget_s: float | None = None
    """Seconds that the conversion may take; above 0."""
    max_bytes: int | None = None
    max_paths: int | None = None
    validate: bool = False
    """Render the result and report its true quality."""
    timeout_s: float | None = None
    """Seconds after which the answer is an error."""
    engine_versions: Mapping[str, str] = field(default_factory=dict)
    """By engine, where the site chose one for this request (`serve.releases.rollouts`); no caller names them."""

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
    """An SVG and how it came about (D-054)."""

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
    """What could not be done as asked, and what was done instead."""
    cost: Mapping[str, float] = field(default_factory=dict)
    """As `serve.observability.costs` has it; empty: nobody measured."""


TIME_BUDGET = "time_budget_s"
_NOT_REACHED = "was not reached"


def not_reached(name: str, wanted: float | None, got: float | None) -> str:
    """A note of ``degraded``: the picture, or its time, does not allow what was asked."""
    return f"{name} {wanted} {_NOT_REACHED}: {got}"


def is_lasting(degraded: Sequence[str]) -> bool:
    """Whether another attempt would come to the same: no engine failed, and no time ran out."""
    return all(_NOT_REACHED in note and not note.startswith(TIME_BUDGET) for note in degraded)


@dataclass(frozen=True)
class TierForecast:
    """What a tier should give and take. ``quality`` is an SSIM, None when nothing could predict it."""

    quality: float | None
    bytes: int | None
    seconds: float


@dataclass(frozen=True)
class Analysis:
    """A picture looked at, not converted (D-014, D-053)."""

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
    """What the doors need: the Vectorizer itself, or the same across a Ray hop."""

    async def analyze(self, data: bytes, engine_versions: Mapping[str, str] = NO_VERSIONS) -> Analysis: ...
