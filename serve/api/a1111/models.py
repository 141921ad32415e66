"""Request and answer models of AUTOMATIC1111's vocabulary beside ``txt2img``. Fields that are not known are ignored.

The answers of what is not offered yet are described as clients know them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from serve.api.http.models import Flag, RequestModel, Text, Whole, one_of

FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
MAX_TASK_ID = 256
BASE64 = "iVBORw0KGgo="

Picture = Annotated[Text, Field(description="in base64, or a data: URL", examples=[BASE64])]
DrawnPicture = Annotated[str, Field(description="in base64", examples=[BASE64])]
TaskId = Annotated[str, Field(examples=["task(abc)"])]
NoMembers = Annotated[
    dict[str, Any], WithJsonSchema({"type": "object", "properties": {}, "maxProperties": 0, "examples": [{}]})
]
NOTHING: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"schema": {"type": "null"}}}}}
"""Responses of a route that answers null."""
OrNone = BeforeValidator(lambda value: value or None)
"""Of a field whose false, zero or empty value is the same as none, as these clients send it."""
OrEmpty = BeforeValidator(lambda value: value or [])
"""The same of a list."""
NoItems = Annotated[list[dict[str, Any]], Field(max_length=0)]
Bytes = Annotated[int, Field(ge=0, examples=[8_589_934_592])]


class LenientModel(RequestModel, extra="ignore"):
    """For clients that send fields of other servers."""


class LoraEntry(BaseModel):
    name: Annotated[str, Field(examples=["ink"])]
    alias: Annotated[str, Field(examples=["ink"])]
    path: Annotated[str, Field(examples=["ink"])]
    metadata: Annotated[dict[str, str], Field(examples=[{"ss_network_dim": "16"}])]


class OptionsRequest(LenientModel):
    """The options that have an effect here."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"samples_format": "png"}]})

    sd_model_checkpoint: Text | None = None
    samples_format: Annotated[str | None, one_of([*FORMATS, None]), OrNone] = None
    live_previews_enable: Flag | None = None
    enable_pnginfo: Annotated[Flag | None, Field(description="whether pictures say how they were made")] = None

    def chosen(self) -> dict[str, Any]:
        """Those that the client sent."""
        return self.model_dump(exclude_none=True)


class OptionsResponse(BaseModel):
    sd_model_checkpoint: Annotated[str | None, Field(examples=["mini"])]
    samples_format: Annotated[str, one_of([*FORMATS])]
    live_previews_enable: bool
    enable_pnginfo: Annotated[bool, Field(description="whether pictures say how they were made")]
    sd_checkpoint_hash: Annotated[str | None, Field(examples=["1"])]
    sd_vae: Annotated[str, Field(examples=["Automatic"])]
    CLIP_stop_at_last_layers: int
    sd_lora: Annotated[str, Field(examples=["None"])]
    return_grid: bool
    show_progress_type: Annotated[str, Field(examples=["Approx NN"])]


class ProgressQuery(LenientModel):
    skip_current_image: Annotated[Flag, Field(description="Whether to leave the preview out.")] = False


class ProgressState(BaseModel):
    skipped: bool
    interrupted: bool
    stopping_generation: bool
    job: Annotated[str, Field(description="or empty", examples=["task(abc)"])]
    job_count: int
    job_timestamp: Annotated[str, Field(examples=["20260501120000"])]
    job_no: int
    sampling_step: Annotated[int, Field(description="of each picture")]
    sampling_steps: int


class ProgressResponse(BaseModel):
    progress: Annotated[float, Field(ge=0, le=1)]
    eta_relative: Annotated[float, Field(description="seconds; 0 while it is not known")]
    state: ProgressState
    current_image: Annotated[str | None, Field(description="in base64", examples=[BASE64])]
    textinfo: Annotated[str | None, Field(examples=["Queued..."])]


class TaskProgressRequest(LenientModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"id_task": "task(abc)"}]})

    id_task: Annotated[Text, Field(max_length=MAX_TASK_ID)] = ""
    id_live_preview: Annotated[Whole, Field(description="the last one that the client has")] = -1
    live_preview: Flag = True


class TaskProgressResponse(BaseModel):
    active: bool
    queued: bool
    paused: bool
    completed: bool
    progress: Annotated[Annotated[float, Field(ge=0, le=1)] | None, Field(examples=[0.4])]
    eta: Annotated[float | None, Field(description="seconds", examples=[1.5])]
    live_preview: Annotated[str | None, Field(description="a data: URL", examples=[f"data:image/jpeg;base64,{BASE64}"])]
    id_live_preview: int
    textinfo: Annotated[str | None, Field(examples=["Queued..."])]


class PendingResponse(BaseModel):
    size: int
    tasks: list[TaskId]


class PictureRequest(LenientModel):
    image: Picture


class InterrogateRequest(LenientModel):
    model_config = ConfigDict(json_schema_extra={"required": ["image"]})

    image: Picture | None = None
    model: Annotated[Text, Field(description="clip, deepdanbooru or deepbooru")] = "clip"


class PngInfoResponse(BaseModel):
    info: Annotated[str, Field(examples=["red apple, flat\nSteps: 8, Sampler: Euler, Seed: 7"])]
    items: Annotated[dict[str, str], Field(description="its other texts", examples=[{"Software": "Atelier"}])]
    parameters: Annotated[dict[str, str], Field(examples=[{"Prompt": "red apple, flat", "Steps": "8"}])]


class UpscalerItem(BaseModel):
    name: Annotated[str, Field(examples=["Lanczos"])]
    model_name: str | None
    model_path: str | None
    model_url: str | None
    scale: float | None


class UpscaledResponse(BaseModel):
    html_info: Annotated[str, Field(examples=[""])]
    image: DrawnPicture


class UpscaledBatchResponse(BaseModel):
    html_info: Annotated[str, Field(examples=[""])]
    images: list[DrawnPicture]


class CaptionResponse(BaseModel):
    caption: str


class DetectResponse(BaseModel):
    images: list[DrawnPicture]
    info: Annotated[str, Field(examples=["Success"])]


class ModelItem(BaseModel):
    title: Annotated[str, Field(examples=["mini"])]
    model_name: str
    hash: Annotated[str | None, Field(examples=["1"])]
    sha256: None
    filename: Annotated[str, Field(examples=["mini"])]
    config: None


class SamplerItem(BaseModel):
    name: Annotated[str, Field(examples=["Euler"])]
    aliases: Annotated[list[str], Field(examples=[["euler"]])]
    options: Annotated[dict[str, str], Field(examples=[{"scheduler": "karras"}])]


class SchedulerItem(BaseModel):
    name: Annotated[str, Field(examples=["karras"])]
    label: Annotated[str, Field(examples=["Karras"])]
    aliases: None
    default_rho: Annotated[float, Field(description="-1: it has none", examples=[7.0])]
    need_inner_model: bool


class StyleItem(BaseModel):
    name: Annotated[str, Field(examples=["portrait/studio"])]
    prompt: str
    negative_prompt: str


class EmbeddingsResponse(BaseModel):
    loaded: NoMembers
    skipped: NoMembers


class ScriptsResponse(BaseModel):
    txt2img: NoItems
    img2img: NoItems


class CommandFlagsResponse(BaseModel):
    api: bool
    nowebui: bool
    api_server_stop: bool


class MainMemory(BaseModel):
    free: Bytes
    used: Bytes
    total: Bytes


class GpuMemory(BaseModel):
    error: Annotated[str, Field(examples=["unavailable"])]


class MemoryResponse(BaseModel):
    ram: MainMemory
    cuda: GpuMemory
