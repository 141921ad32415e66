"""``txt2img``, and the answer that it has in common with ``img2img``, once all is drawn."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request, Response

from serve.api.a1111.controlnet import control_uses
from serve.api.a1111.drawing_models import (
    DEFAULTS,
    IMG2IMG_DEFAULTS,
    DrawingRequest,
    Txt2ImgRequest,
    Txt2ImgResponse,
)
from serve.api.a1111.options import options_of
from serve.api.a1111.progress_registry import ProgressRegistry, ProgressRegistryOf, Task
from serve.api.http.bodies import CappedRoute
from serve.api.http.callers import CACHE_HEADER, CallerOf, DrawsDirectly
from serve.api.http.drawing import with_answer_headers
from serve.api.http.problems import render
from serve.api.native.conversion import SiteSettings
from serve.diffusion.samplers import by_name
from serve.ensembles.illustrator import provenance
from serve.ensembles.illustrator.encoding import as_base64
from serve.ensembles.illustrator.illustration import Parameters
from serve.ensembles.illustrator.picture_source import PictureSource
from serve.ensembles.illustrator.service import Preview
from serve.ensembles.requests import IllustrateRequest
from serve.errors import rename_fields
from serve.jobs.direct.direct_request import Answer, Caller
from serve.jobs.direct.service import DirectService
from serve.settings import Settings

LOGGER = logging.getLogger(__name__)

router = APIRouter(prefix="/sdapi/v1", route_class=CappedRoute)

_OPTIONAL = ("flagged", "moderation", "served_by", "degraded")
"""Details of the answer that ``info`` has where they exist."""


@router.post(
    "/txt2img",
    response_model=Txt2ImgResponse,
    response_description="What was drawn",
    responses={200: {"headers": CACHE_HEADER}, 499: {}, 501: {}},
)
async def txt2img(
    body: Txt2ImgRequest,
    request: Request,
    caller: CallerOf,
    direct: DrawsDirectly,
    registry: ProgressRegistryOf,
    settings: SiteSettings,
) -> Response:
    """Pictures of a prompt."""
    return await respond(body, await request.json(), None, caller, direct, registry, settings)


async def respond(
    body: Txt2ImgRequest,
    values: Mapping[str, Any],
    source: PictureSource | None,
    caller: Caller,
    direct: DirectService,
    registry: ProgressRegistry,
    settings: Settings,
) -> Response:
    """Draw ``body``, of which the client sent ``values``, from ``source`` if there is one."""
    families = await direct.families()
    options, unknown = options_of(registry, caller.user_id, families, settings, body.override_settings)
    known_loras = await direct.known_loras(body.lora_names())
    parsed = body.parsed(values, families, options, unknown, source, known_loras)
    uses = await control_uses(body.alwayson_scripts, parsed.family, source, settings)
    if uses:
        parsed = replace(parsed, order=replace(parsed.order, options=replace(parsed.order.options, controls=uses)))
    if parsed.notes:  # they quote the prompt, so the answer has them and the log only their number
        LOGGER.info("drawing: %d notes", len(parsed.notes))
    with registry.task(caller.user_id, parsed.task_id, parsed.pictures) as task:
        answer = await task.run(_drawn(parsed, direct, caller, task, settings))
    content = await asyncio.to_thread(_body, values, parsed, answer)
    return with_answer_headers(await asyncio.to_thread(render, content, 200, None), answer)


async def _drawn(
    parsed: DrawingRequest, direct: DirectService, caller: Caller, task: Task, settings: Settings
) -> Answer:
    """Never shares another request's pictures: each request for a random seed gets pictures of its own."""
    drawing_request = IllustrateRequest(parsed.order.options, parsed.order.encoding)
    with rename_fields(parsed.order.names):
        known = await direct.cached_answer(drawing_request, caller)
        if known is not None:
            return known
        drawing = direct.stream(drawing_request, caller, parsed.preview_every(settings.jobs.previews), task.progressed)
        async with contextlib.aclosing(drawing) as items:
            async for item in items:
                if not isinstance(item, Preview):
                    return item
                task.shown(item)
    raise AssertionError("a stream ends with its answer")


def _body(values: Mapping[str, Any], parsed: DrawingRequest, answer: Answer) -> dict[str, Any]:
    names = DEFAULTS if parsed.order.options.source is None else {**DEFAULTS, **IMG2IMG_DEFAULTS}
    repeated = {name: values.get(name, default) for name, default in names.items()}
    return {
        "images": [as_base64(file.data) for file in answer.files] if parsed.send_images else [],
        "parameters": _finite(repeated),
        "info": json.dumps(_info(parsed, answer)),
    }


def _finite(values: Mapping[str, Any]) -> Any:
    """``values`` with null for NaN and Infinity, which JSON does not have."""
    return json.loads(json.dumps(values), parse_constant=lambda _: None)


def _info(parsed: DrawingRequest, answer: Answer) -> dict[str, Any]:
    """The details of the answer, by the names of that project's ``Processed``, and ``comments``."""
    values = answer.details["parameters"]
    made = Parameters(**{field.name: values[field.name] for field in fields(Parameters) if field.name in values})
    seeds = [made.seed if file.seed is None else file.seed for file in answer.files]
    sampler, schedule = provenance.sampler_and_schedule(by_name(made.sampler)) if made.sampler else ("", "")
    count = len(seeds)
    return {
        "prompt": made.prompt,
        "all_prompts": [made.prompt] * count,
        "negative_prompt": made.negative_prompt,
        "all_negative_prompts": [made.negative_prompt] * count,
        "seed": seeds[0],
        "all_seeds": seeds,
        "subseed": seeds[0],
        "all_subseeds": seeds,
        "subseed_strength": 0,
        "width": made.width,
        "height": made.height,
        "sampler_name": sampler,
        "scheduler": schedule,
        "cfg_scale": made.guidance_scale,
        "steps": made.num_inference_steps,
        "batch_size": parsed.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": made.model,
        "sd_model_hash": parsed.family.version if parsed.family.name == made.model else None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": provenance.strength_of(made),
        "extra_generation_params": {"Schedule type": schedule},
        "index_of_first_image": 0,
        "infotexts": [provenance.infotext(replace(made, seed=seed)) for seed in seeds],
        "styles": list(parsed.styles),
        "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.gmtime()),
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "version": f"atelier {version('atelier')}",
        "comments": "".join(f"{note}\n" for note in parsed.notes),
        "generation_id": answer.generation_id,
        **{name: answer.details[name] for name in _OPTIONAL if name in answer.details},
    }
