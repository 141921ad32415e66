"""Models of the requests to the queue's routes: bodies, queries and headers. Answers are in `models`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from fastapi import UploadFile
from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, WithJsonSchema, WrapValidator

from serve.api.captions.fields import MAX_PICTURES, CaptionFields
from serve.api.http.callers import KeyHeader
from serve.api.http.drawing import Count, Prompt, SizedDrawingFields
from serve.api.http.finishing import FinishRequest
from serve.api.http.input_pictures import PictureOriginFields
from serve.api.http.models import (
    Cursor,
    Flag,
    Number,
    RequestModel,
    Text,
    Whole,
    one_of,
    reported_as_one,
)
from serve.api.http.ownership import MAX_USER
from serve.api.library.files import SignedQuery
from serve.api.native.conversion_models import ConversionFields
from serve.api.native.presets import QUALITIES
from serve.api.restyling.fields import TransferRequest
from serve.diffusion.noise import MAX_SEED
from serve.ensembles.illustrator.illustration import RANDOM_SEED
from serve.ensembles.requests import FINISH, ILLUSTRATE, RESTYLE, VECTORIZE, CaptionRequest, RetrainRequest
from serve.jobs.queue.generation_queue import MAX_PRIORITY, PRIORITIES
from serve.jobs.queue.views import MAX_JOBS_PER_PAGE
from serve.settings.egress_policy import MAX_URL
from serve.state.job_states import KINDS, STATUSES

PROMPT_TO_SVG = "prompt_to_svg"
CAPTION = CaptionRequest.kind
STORED_KINDS = (ILLUSTRATE, VECTORIZE, FINISH, RESTYLE, CAPTION, RetrainRequest.kind)
"""A drawing that becomes an SVG is an illustration."""
MAX_WAIT_S = 60.0
FAL_PRIORITY = "X-Fal-Queue-Priority"
MIN_TIMEOUT_S, MAX_TIMEOUT_S = 0.1, 7 * 86_400.0
"""Of a job, counted from its submission."""
MAX_EVENT = 2**31 - 1
LAST_EVENT = "Last-Event-ID"
WEBHOOK_EVENTS = KINDS[1:]
"""All kinds but the first: the answer to the request already says that the job is queued."""


def _priority(value: Any) -> Any:
    if value == "":
        return 0
    return PRIORITIES.get(value, value) if isinstance(value, str) else value


def _split(value: Any) -> Any:
    return [event.strip() for event in value.split(",")] if isinstance(value, str) else value


def _default(default: Any) -> BeforeValidator:
    """Replaces null and an empty text by ``default``."""
    return BeforeValidator(lambda value: default if value is None or value == "" else value)


def _any_object(value: Any, _handler: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("must be an object")
    return value


Priority = Annotated[
    Whole,
    Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY),
    BeforeValidator(_priority),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "integer", "minimum": -MAX_PRIORITY, "maximum": MAX_PRIORITY},
                {"enum": list(PRIORITIES)},
            ],
            "default": 0,
        }
    ),
]
WebhookEvents = Annotated[
    list[Annotated[str, one_of(WEBHOOK_EVENTS)]],
    Field(min_length=1, max_length=len(WEBHOOK_EVENTS)),
    WrapValidator(reported_as_one),
    BeforeValidator(_split),
]
Quality = Annotated[str, one_of([quality.name for quality in QUALITIES])]
Status = Annotated[str, one_of(STATUSES)]


class JobFields(RequestModel):
    """What jobs of all kinds have in common."""

    user_id: Annotated[Text | None, Field(max_length=MAX_USER, description="the key's user by default")] = None
    priority: Priority | None = None
    webhook_url: Annotated[Text | None, Field(max_length=MAX_URL, json_schema_extra={"format": "uri"})] = None
    webhook_events: WebhookEvents | None = None
    timeout_s: Annotated[
        Number | None,
        Field(
            ge=MIN_TIMEOUT_S,
            le=MAX_TIMEOUT_S,
            description="seconds from now to its end, all waiting included; then it has failed",
        ),
    ] = None


class DrawingInput(SizedDrawingFields):
    """of illustrate and prompt_to_svg"""

    prompt: Prompt
    n: Count = 1
    quality: Quality | None = None


class ConversionInput(ConversionFields):
    """of vectorize"""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["image"]}, {"required": ["result_id"]}]})
    kept_empty: ClassVar = ("tier",)

    image: Annotated[Text | None, Field(description="a data: URL in base64, or the https: address of a picture")] = None
    result_id: Annotated[Text | None, Field(description="a stored result in place of a picture")] = None


class FinishInput(FinishRequest):
    """of finish"""

    model_config = ConfigDict(json_schema_extra={})


class RestyleInput(TransferRequest):
    """of restyle"""

    model_config = ConfigDict(json_schema_extra={})


class CaptionInput(CaptionFields):
    """of caption"""

    pictures: Annotated[
        list[PictureOriginFields], FailFast(), Field(min_length=1, max_length=MAX_PICTURES, description="in order")
    ]


class JobRequestBody(JobFields):
    """``input`` is validated by the model of its kind. ``seeds``, ``prompts`` or ``count`` make a batch."""

    model_config = ConfigDict(
        json_schema_extra={
            "required": ["kind", "input"],
            "examples": [
                {"kind": ILLUSTRATE, "input": {"prompt": "red apple, flat", "seed": 7}, "user_id": "ada", "count": 4}
            ],
        }
    )
    kept_empty: ClassVar = ("input", "seeds", "prompts")

    kind: Annotated[str, one_of((ILLUSTRATE, VECTORIZE, PROMPT_TO_SVG, FINISH, RESTYLE, CAPTION))]
    input: Annotated[
        DrawingInput | ConversionInput | FinishInput | RestyleInput | CaptionInput, WrapValidator(_any_object)
    ] = Field(
        default_factory=dict,  # type: ignore[assignment]
    )
    seeds: Annotated[
        list[Annotated[Whole, Field(ge=-1, le=MAX_SEED), _default(RANDOM_SEED)]] | None,
        WrapValidator(reported_as_one),
    ] = None
    prompts: Annotated[list[Prompt] | None, WrapValidator(reported_as_one)] = None
    count: Annotated[
        Annotated[Whole, Field(ge=1)] | None,
        Field(description="jobs whose seeds follow one another"),
    ] = None


class JobForm(JobFields, ConversionFields):
    kept_empty: ClassVar = ("tier",)

    image: Annotated[
        UploadFile | None,
        WithJsonSchema(
            {"type": "string", "format": "binary", "description": "PNG, JPEG, WebP, AVIF, GIF, BMP, ICO or TIFF"}
        ),
    ] = None
    result_id: Annotated[Text | None, Field(description="a stored result in place of a picture")] = None
    kind: Literal["vectorize"] = VECTORIZE  # type: ignore[assignment]
    webhook_events: Annotated[
        WebhookEvents | None, WithJsonSchema({"type": "string", "description": "with commas between them"})
    ] = None


def _trimmed(value: Any) -> Any:
    return (value.strip().lower() or None) if isinstance(value, str) else value


class PriorityHeader(BaseModel):
    fal_priority: Annotated[
        Annotated[str, one_of(PRIORITIES)] | None,
        BeforeValidator(_trimmed),
        Field(alias=FAL_PRIORITY, description="where the body names none"),
    ] = None


class JobHeaders(KeyHeader, PriorityHeader):
    prefer: Annotated[
        list[str],
        Field(
            alias="Prefer",
            description=f"wait=N: answer when it is over, after at most N of {MAX_WAIT_S:g} seconds",
        ),
    ] = Field(default_factory=list)


class JobsQuery(RequestModel):
    user_id: Annotated[Text | None, Field(max_length=MAX_USER, description="of these alone")] = None
    batch_id: Annotated[Text | None, Field(description="of these alone")] = None
    status: Annotated[Status | None, Field(description="of these alone")] = None
    kind: Annotated[Annotated[str, one_of(STORED_KINDS)] | None, Field(description="of these alone")] = None
    cursor: Cursor = None
    limit: Annotated[Whole, Field(ge=1, le=MAX_JOBS_PER_PAGE, description="jobs of a page")] = 20


class PriorityBody(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"priority": "high"}]})
    kept_empty: ClassVar = ("priority",)

    priority: Priority


class PreviewQuery(SignedQuery, extra="ignore"):
    v: Annotated[str | None, Field(description="changes with the preview")] = None


class StreamQuery(RequestModel, extra="ignore"):
    after: Annotated[Whole, Field(ge=0, le=MAX_EVENT, description="the number of the last event that is known")] = 0


class EventsQuery(SignedQuery):
    after: Annotated[Whole, Field(ge=0, le=MAX_EVENT, description="the number of the last event that is known")] = 0
    wait_s: Annotated[Number, Field(ge=0, le=MAX_WAIT_S, description="how long JSON waits for an event")] = 0.0
    stream: Annotated[Flag | None, Field(description="server-sent events, whatever Accept says")] = None


class LastEventHeader(BaseModel):
    """Of a stream; polling ignores it."""

    last_event_id: Annotated[
        Annotated[Whole, Field(ge=0, le=MAX_EVENT)] | None, BeforeValidator(_trimmed), Field(alias=LAST_EVENT)
    ] = None
