"""Request and answer models of the routes that take pictures as forms, and of the engines' health."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import UploadFile
from pydantic import BaseModel, BeforeValidator, Field

from serve.api.http.models import Flag, Number, RequestModel, Text, Whole, validate
from serve.ensembles.vectorizer.vectorization import (
    DRAWING_OPTIONS,
    ID_PREFIX,
    MAX_TITLE,
    PALETTE,
    Curves,
    Draw,
    GroupBy,
    Stacking,
    Tier,
    VectorizeOptions,
)
from serve.errors import rename_fields

EXAMPLE_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><path d="M8 8h48v48H8z" fill="#c0392b"/></svg>'
)
_CLIENT_NAMES = {"time_budget_s": "time_budget"}
_TIERS: dict[str, Tier] = {"auto": "auto", "basic": "basic", "1": 1, "2": 2, "3": 3}


def _tier(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Limits(RequestModel):
    """What a conversion keeps to."""

    max_bytes: Annotated[Whole, Field(ge=100)] | None = None
    max_paths: Annotated[Whole, Field(ge=1)] | None = None
    validated: Annotated[Flag, Field(alias="validate", description="render the SVG and report its true quality")] = (
        False
    )

    max_colors: Annotated[Whole, Field(ge=2, le=48, description="most flat colours")] | None = None
    min_area_px: Annotated[Number, Field(ge=0.5, le=12, description="smallest area kept, in square pixels")] | None = (
        None
    )
    precision: Annotated[Whole, Field(ge=0, le=3, description="decimal places of coordinates")] | None = None
    shapes: Annotated[
        Flag, Field(description="circles, ellipses, rectangles and strokes as such; false: paths alone")
    ] = True
    reuse: Annotated[Flag, Field(description="the same shape again as `use` of the first, where that is shorter")] = (
        True
    )
    palette: (
        Annotated[
            Text,
            Field(
                pattern=f"^{PALETTE.pattern}$",
                description="colours that the SVG may have, with commas between them; each area takes the nearest",
                examples=["#1b4332,#ff7b00,#fefae0"],
            ),
        ]
        | None
    ) = None
    background: Annotated[
        Literal["keep", "remove"], Field(description="remove: leave out an area that fills the whole canvas")
    ] = "keep"
    classes: Annotated[Flag, Field(description="a class for each colour and an id at the root, for style sheets")] = (
        False
    )
    title: Annotated[Text, Field(max_length=MAX_TITLE, description="the SVG's title")] | None = None
    id_prefix: (
        Annotated[
            Text,
            Field(
                pattern=f"^{ID_PREFIX.pattern}$",
                description="what all ids begin with; by default those of paints and repeated shapes begin with a hash",
                examples=["fox-"],
            ),
        ]
        | None
    ) = None
    curves: Annotated[
        Curves, Field(description="the curves of paths beside lines: none, circular arcs, quadratic or cubic Béziers")
    ] = "cubic"
    stacking: Annotated[
        Stacking, Field(description="cut_out: nothing lies below an opaque shape; neighbours share their edge")
    ] = "stacked"
    group_by: Annotated[
        GroupBy,
        BeforeValidator(lambda value: "color" if value == "colour" else value),
        Field(description="groups of one colour, of what lies in a shape, or of what lies equally high"),
    ] = "none"
    draw: Annotated[Draw, Field(description="strokes: outlines of the areas, 1 px wide, in their colours")] = "fills"

    def options(self, **options: Any) -> VectorizeOptions:
        """``options`` of `VectorizeOptions` win."""
        own = {name: getattr(self, name) for name in DRAWING_OPTIONS}
        values = {
            "max_bytes": self.max_bytes, "max_paths": self.max_paths, "validate": self.validated, **own, **options,
        }  # fmt: skip
        with rename_fields(_CLIENT_NAMES):
            return VectorizeOptions(**values)


class ConversionFields(Limits):
    """What a caller may ask of the Vectorizer."""

    tier: Annotated[Literal["auto", "basic", "1", "2", "3"], BeforeValidator(_tier)] = "auto"
    target_quality: Annotated[Number, Field(ge=0, le=1)] = 0.9
    time_budget: Annotated[Number, Field(gt=0, description="seconds")] | None = None

    def options(self, **options: Any) -> VectorizeOptions:
        own = {
            "tier": _TIERS[self.tier],
            "target_quality": self.target_quality,
            "time_budget_s": self.time_budget,
        }
        return super().options(**{**own, **options})


CONVERSION_FIELDS = tuple(ConversionFields.field_names())


def vectorize_options(values: Any, **options: Any) -> VectorizeOptions:
    """Of values by the clients' names, such as a protocol's typed parameters. Raises InvalidRequest."""
    return validate(ConversionFields, values).options(**options)


class ImageForm(RequestModel):
    image: Annotated[
        UploadFile,
        Field(
            description="PNG, JPEG, WebP, AVIF, GIF, BMP, ICO or TIFF, of 2 px a side or more",
            json_schema_extra={"format": "binary"},
        ),
    ]


class ConvertForm(ImageForm, Limits):
    pass


class ConvertAiForm(ImageForm, ConversionFields):
    pass


class ModelInfo(BaseModel):
    versions: dict[str, str]
    inference_engine: Annotated[str, Field(examples=["exported_models"])]


class AiMetadata(BaseModel):
    logo_type: str
    selected_tier: str
    tracer: str
    input_sha256: str
    confidence: float
    processing_time: float
    predicted_quality: float | None
    actual_quality: float | None
    bytes: int
    paths: int
    width: int
    height: int
    parameters_used: Annotated[dict[str, Any], Field(examples=[{"color_precision": 6, "corner_threshold": 60}])]
    model_versions: dict[str, str]
    timings_s: dict[str, float] = {}
    cost: Annotated[dict[str, float], Field(description="cpu_seconds, gpu_seconds; not of answers from the cache")] = {}
    degraded: Annotated[list[str], Field(description="what could not be done as asked", examples=[[]])]
    generation_id: str
    cached: bool


class ConversionResponse(BaseModel):
    success: Literal[True]
    svg_content: Annotated[str, Field(examples=[EXAMPLE_SVG])]
    ai_metadata: AiMetadata
    processing_time: float
    fallback_used: bool
    model_info: ModelInfo


class AnalysisResponse(BaseModel):
    success: Literal[True]
    features: dict[str, float]
    logo_type: str
    recommended_tier: str
    input_sha256: str
    processing_method: str
    confidence: float
    processing_time: float
    width: int
    height: int
    cached: bool


class EngineHealth(BaseModel):
    ready: bool
    latency_ms: float
    version: str
    reason: str


class AiHealthResponse(BaseModel):
    status: Literal["healthy", "degraded", "unavailable"]
    models_ready: int
    models_total: int
    models: dict[str, EngineHealth]
    asleep: Annotated[list[str], Field(description="Ensembles that the first request wakes")]
    model_info: ModelInfo
