"""What OpenAPI says of AUTOMATIC1111's vocabulary. What is not offered yet tells what clients know of its answer."""

from __future__ import annotations

from typing import Any

from serve.api.http.drawing_schema import OPTIONS, described
from serve.api.openapi.operation import (
    FLAG,
    MAYBE_NUMBER,
    MAYBE_TEXT,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    answer,
    body,
    json_object,
    list_of,
    mapping_of,
    query,
)
from serve.ensembles.illustrator.illustration import MAX_PICTURES
from serve.vector.image import FIELD

NOTHING = {"type": "null"}
_BASE64 = "iVBORw0KGgo="
_PICTURE = {**TEXT, "description": "in base64, or a data: URL", "example": _BASE64}
_PICTURES = {**list_of(_PICTURE), "minItems": 1}
_MADE = list_of({**TEXT, "description": "in base64", "example": _BASE64})
_COUNT = {"type": "integer", "minimum": 1, "maximum": MAX_PICTURES, "default": 1}
_SIDE = {"type": "integer", "minimum": 1, "description": "the nearest that the model draws is drawn"}
_NOT_YET = "Not answered yet: "
_TASK = {**TEXT, "example": "task(abc)"}
_QUEUED = {**MAYBE_TEXT, "example": "Queued..."}

_WISHES: dict[str, Any] = {
    "prompt": {**TEXT, "minLength": 1},
    "negative_prompt": TEXT,
    "styles": {**list_of(TEXT), "description": "names of GET prompt-styles"},
    "seed": OPTIONS["seed"],
    "sampler_name": {**TEXT, "description": "one of GET samplers"},
    "scheduler": {**TEXT, "description": "one of GET schedulers"},
    "batch_size": _COUNT,
    "n_iter": _COUNT,
    "steps": OPTIONS["num_inference_steps"],
    "cfg_scale": OPTIONS["guidance_scale"],
    "width": _SIDE,
    "height": _SIDE,
    "override_settings": {**OBJECT, "description": "as of POST options, for this request"},
    "enable_hr": {**FLAG, "default": False, "description": "not offered yet: 501"},
    "send_images": {**FLAG, "default": True},
    "force_task_id": {**TEXT, "description": "what POST /internal/progress asks by"},
}
_DRAWN = {"images": _MADE, "parameters": OBJECT, "info": {**TEXT, "description": "a JSON object", "example": "{}"}}
_WISH = {"prompt": "red apple, flat", "seed": 7, "steps": 8, "sampler_name": "Euler"}
TXT2IMG = described(_WISHES, ["prompt"], _WISH, _DRAWN, others=True)
TXT2IMG["responses"] |= {"499": {}, "501": {}}
_FROM = {**_WISHES, "init_images": _PICTURES, "mask": _PICTURE}
IMG2IMG: dict[str, Any] = {
    **body({"type": "object", "required": ["init_images"], "properties": _FROM}, {"init_images": [_BASE64]}),
    **answer(_NOT_YET + "what was drawn", json_object(_DRAWN), r501={}),
}

_STATE = {
    "skipped": FLAG, "interrupted": FLAG, "stopping_generation": FLAG, "job": {**_TASK, "description": "or empty"},
    "job_count": WHOLE, "job_timestamp": {**TEXT, "example": "20260501120000"}, "job_no": WHOLE,
    "sampling_step": {**WHOLE, "description": "of each picture"}, "sampling_steps": WHOLE,
}  # fmt: skip
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_FAR = {
    "progress": _SHARE, "eta_relative": {**NUMBER, "description": "seconds; 0 while nobody knows"},
    "state": json_object(_STATE), "current_image": {**MAYBE_TEXT, "description": "in base64", "example": _BASE64},
    "textinfo": _QUEUED,
}  # fmt: skip
PROGRESS = {
    "parameters": [query("skip_current_image", {**FLAG, "default": False}, "Whether to leave the preview out.")],
    **answer("How far it is; without a request, all is 0", json_object(_FAR)),
}
INTERRUPTED = answer("They end", {"type": "object", "properties": {}, "maxProperties": 0}, example={})
SKIPPED = answer("It ends", NOTHING)
_ONE_FAR = {
    "active": FLAG, "queued": FLAG, "paused": FLAG, "completed": FLAG,
    "progress": {"type": ["number", "null"], "minimum": 0, "maximum": 1, "example": 0.4},
    "eta": {**MAYBE_NUMBER, "description": "seconds", "example": 1.5},
    "live_preview": {**MAYBE_TEXT, "description": "a data: URL", "example": f"data:image/jpeg;base64,{_BASE64}"},
    "id_live_preview": WHOLE, "textinfo": _QUEUED,
}  # fmt: skip
_ASKED = {
    "id_task": TEXT,
    "id_live_preview": {**WHOLE, "default": -1, "description": "the last one that the client has"},
    "live_preview": {**FLAG, "default": True},
}
ONE_PROGRESS = {
    **body({"type": "object", "properties": _ASKED}, {"id_task": "task(abc)"}),
    **answer("How far it is; nobody's id is neither active, queued nor completed", json_object(_ONE_FAR)),
}
PENDING = answer("Their ids, the oldest first", json_object({"size": WHOLE, "tasks": list_of(_TASK)}))

_OPTIONS = {
    "sd_model_checkpoint": {**MAYBE_TEXT, "example": "mini"},
    "samples_format": {**TEXT, "enum": ["png", "jpg", "jpeg", "webp"]},
    "live_previews_enable": FLAG,
    "enable_pnginfo": {**FLAG, "description": "whether pictures tell how they were made"},
}
_FIXED = {
    "sd_checkpoint_hash": {**MAYBE_TEXT, "example": "1"}, "sd_vae": {**TEXT, "example": "Automatic"},
    "CLIP_stop_at_last_layers": WHOLE, "sd_lora": {**TEXT, "example": "None"}, "return_grid": FLAG,
    "show_progress_type": {**TEXT, "example": "Approx NN"},
}  # fmt: skip
GET_OPTIONS = answer("Those that mean something here, and others that clients look for", json_object(_OPTIONS | _FIXED))
SET_OPTIONS = {
    **body({**OBJECT, "properties": _OPTIONS}, {"samples_format": "png"}),
    **answer("They are chosen", NOTHING),
}

TOLD = answer(
    "What the picture tells",
    json_object({
        "info": {**TEXT, "example": "red apple, flat\nSteps: 8, Sampler: Euler, Seed: 7"},
        "items": {**mapping_of(TEXT), "description": "its other texts", "example": {"Software": "Atelier"}},
        "parameters": {**mapping_of(TEXT), "example": {"Prompt": "red apple, flat", "Steps": "8"}},
    }),
)  # fmt: skip
_NEEDS = {"type": "object", "required": [FIELD]}
PNG_INFO = {**body({**_NEEDS, "properties": {FIELD: _PICTURE}}), **TOLD}
_REPORT = {"html_info": {**TEXT, "example": ""}}
EXTRA_SINGLE = {
    **body({**_NEEDS, "properties": {FIELD: _PICTURE}}),
    **answer(_NOT_YET + "the picture, larger", json_object({**_REPORT, "image": _PICTURE}), r501={}),
}
EXTRA_BATCH = answer(_NOT_YET + "the pictures, larger", json_object({**_REPORT, "images": _MADE}), r501={})
_ABOUT = {FIELD: _PICTURE, "model": {**TEXT, "enum": ["clip", "deepdanbooru", "deepbooru"], "default": "clip"}}
INTERROGATE = {
    **body({**_NEEDS, "properties": _ABOUT}),
    **answer(_NOT_YET + "what is in the picture", json_object({"caption": TEXT}), r501={}),
}
DETECT = answer(_NOT_YET + "what the module sees", json_object({"images": _MADE}), r501={})
