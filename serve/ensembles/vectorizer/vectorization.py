"""Input and output values of the Vectorizer: frozen, picklable, light to import.

Gateways use them without loading a tracer; ``serve.ensembles.vectorizer.vectorizer`` implements the service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol, get_args

from serve.engines.service import EngineService
from serve.ensembles.ranges import check_number
from serve.errors import InvalidRequest

VECTORIZE = "vectorize"
"""Name of the Vectorizer in metrics."""
EMBEDDER = "image_features"
EMBEDDING_WIDTH = 512
CLASSIFIER = "logo_type"
QUALITY = "quality"
TIER1 = "tier1"
POLICY = "policy"
ENGINES = (EMBEDDER, CLASSIFIER, QUALITY, TIER1, POLICY)
"""Engines of the Vectorizer."""
NO_VERSIONS: Mapping[str, str] = {}
Background = Literal["keep", "remove"]
"""``remove`` leaves out an area that fills the whole canvas at the bottom."""
Curves = Literal["lines", "arcs", "quadratic", "cubic"]
Stacking = Literal["stacked", "cut_out"]
GroupBy = Literal["none", "color", "parent", "layer"]
Draw = Literal["fills", "strokes"]
MAX_PALETTE, MAX_TITLE = 64, 200
PALETTE = re.compile(r"#[0-9a-fA-F]{6}(,#[0-9a-fA-F]{6}){0,63}")
ID_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
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
    max_colors: int | None = None
    """Most flat colours."""
    min_area_px: float | None = None
    """Smallest area kept, in square pixels."""
    precision: int | None = None
    """Decimal places of coordinates."""
    shapes: bool = True
    """Circles, ellipses, rectangles and strokes as such; otherwise paths alone."""
    reuse: bool = True
    """The same shape again is one `use`, where that is shorter."""
    palette: str | None = None
    """Colours (#rrggbb, with commas between them) that the SVG may have; each area takes the nearest."""
    background: Background = "keep"
    classes: bool = False
    """A class for each colour and an id at the root, for style sheets."""
    title: str | None = None
    """The SVG's title."""
    id_prefix: str | None = None
    """What the SVG's ids begin with; without it those of paints and repeated shapes begin with a hash."""
    curves: Curves = "cubic"
    """The curves that paths may have, beside lines."""
    stacking: Stacking = "stacked"
    """``cut_out``: nothing lies below an opaque shape."""
    group_by: GroupBy = "none"
    draw: Draw = "fills"
    """``strokes``: areas as outlines of their colour."""
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
        check_number(self.max_colors, "max_colors", 2, 48)
        check_number(self.min_area_px, "min_area_px", 0.5, 12.0)
        check_number(self.precision, "precision", 0, 3)
        if self.palette is not None and PALETTE.fullmatch(self.palette) is None:
            raise InvalidRequest(
                f"must be 1 to {MAX_PALETTE} colours like #1b4332, with commas between them", "palette"
            )
        for name, choice in _CHOICES.items():
            if getattr(self, name) not in get_args(choice):
                raise InvalidRequest(f"must be one of {', '.join(get_args(choice))}", name)
        if self.title is not None and len(self.title) > MAX_TITLE:
            raise InvalidRequest(f"may have {MAX_TITLE} characters", "title")
        if self.id_prefix is not None and ID_PREFIX.fullmatch(self.id_prefix) is None:
            raise InvalidRequest("must be a letter, then up to 31 letters, digits, - and _", "id_prefix")

    def drawing_options(self) -> dict[str, Any]:
        """The options of the drawing that are not the defaults, by name."""
        return {name: value for name, default in _DEFAULTS.items() if (value := getattr(self, name)) != default}


DRAWING_OPTIONS = (
    "max_colors", "min_area_px", "precision", "shapes", "reuse", "palette", "background", "classes", "title",
    "id_prefix", "curves", "stacking", "group_by", "draw",
)  # fmt: skip
"""Options of how the SVG is drawn and written."""
_CHOICES = {"background": Background, "curves": Curves, "stacking": Stacking, "group_by": GroupBy, "draw": Draw}
_DEFAULTS = {one.name: one.default for one in fields(VectorizeOptions) if one.name in DRAWING_OPTIONS}


@dataclass(frozen=True)
class QualitySample:
    """What one conversion says about the predictions of the engine `quality`.

    ``embedding``: (512,) float16, little-endian. ``trials``: at most `MAX_TRIALS`, the chosen one first; each a
    candidate row of `serve.vector.parameters` (10 values) and what was measured: SSIM, bytes and paths.
    """

    embedding: bytes
    trials: Sequence[Sequence[float]]


MAX_TRIALS = 8
"""Of one conversion in a `QualitySample`."""


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
    sample: QualitySample | None = None
    """For training, where the site collects it; no part of answers."""


TIME_BUDGET = "time_budget_s"
_NOT_REACHED = "was not reached"
_NO_EFFECT = "has no effect"
PICTORIAL_IGNORES = ("precision", "shapes", "reuse")
"""Options without effect on photographs, which are drawn as polygons in whole half pixels."""


def unmet_note(name: str, wanted: float | None, got: float | None) -> str:
    """A note for ``degraded``: a requested limit that the picture or the time does not allow."""
    return f"{name} {wanted} {_NOT_REACHED}: {got}"


def no_effect_note(name: str, where: str) -> str:
    """A note for ``degraded``: an option that does nothing to this drawing."""
    return f"{name} {_NO_EFFECT} {where}"


def is_lasting(degraded: Sequence[str]) -> bool:
    """Whether a repetition would give the same notes: no engine failed and no time ran out."""
    return all((_NOT_REACHED in note or _NO_EFFECT in note) and not note.startswith(TIME_BUDGET) for note in degraded)


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
