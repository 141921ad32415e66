"""Requests of the queue's routes as orders and requests of the queue, refused where the direct routes refuse them.

Only the Illustrator knows its models, sizes and samplers. They are requested with a short timeout: the queue accepts
jobs also while the Illustrator is unavailable.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request

from serve.api.captions.captioners import captioner_of
from serve.api.http.callers import KeyHeader
from serve.api.http.drawing import SizedDrawingFields, family_for
from serve.api.http.models import validate
from serve.api.http.stateful import state_of
from serve.api.jobs.kept_pictures import RESULT, keep, keep_picture
from serve.api.jobs.request_models import (
    CAPTION,
    PROMPT_TO_SVG,
    CaptionInput,
    ConversionInput,
    DrawingInput,
    FinishInput,
    JobFields,
    JobForm,
    JobHeaders,
    JobRequestBody,
    RestyleInput,
)
from serve.api.jobs.variations import refuse_variations, varied, with_first_prompt
from serve.api.library.picture_sources import PictureSources, keep_pictures
from serve.api.middleware.authentication import principal_of
from serve.api.native.presets import quality_of
from serve.api.native.styles import StyleBook, book_of
from serve.api.restyling.requests import restyling_request
from serve.diffusion.samplers import by_name
from serve.ensembles.illustrator.illustration import HOW_TO_BUILD, IllustrateOptions, no_illustrator_error
from serve.ensembles.illustrator.service import FamilyInfo, IllustratorService
from serve.ensembles.requests import (
    FINISH,
    RESTYLE,
    VECTORIZE,
    CaptionRequest,
    IllustrateRequest,
    JobRequest,
    VectorizeRequest,
)
from serve.errors import DeadlineExceeded, EngineUnavailable, InvalidRequest, NotFound, Overloaded, rename_fields
from serve.jobs.loras import resolve_loras
from serve.jobs.queue.generation_queue import PRIORITIES
from serve.jobs.queue.insertion import JobOptions
from serve.jobs.webhooks.client import check_webhook_url
from serve.observability import request_context
from serve.settings import Settings
from serve.state import State
from serve.state.objects.names import media_type_of
from serve.vector.image import FIELD

FAMILIES_TIMEOUT_S = 2.0
_OF_FAMILY = ("model", "width", "height", "sampler")
_UNAVAILABLE = (EngineUnavailable, Overloaded, DeadlineExceeded)


@dataclass(frozen=True)
class ParsedJobs:
    """``requests`` are one job, or a batch."""

    requests: Sequence[JobRequest]
    order: JobOptions
    is_batch: bool = False


async def parse_body(request: Request) -> JobRequestBody | JobForm:
    """The body of `POST /v1/jobs`, JSON or a form. Raises InvalidRequest naming the field at fault."""
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return validate(JobForm, dict(await request.form()))
    return validate(JobRequestBody, await request.json())


async def parse_jobs(body: JobRequestBody | JobForm, headers: JobHeaders, request: Request, state: State) -> ParsedJobs:
    """Raises InvalidRequest naming the field at fault, and the errors of `keep_picture`."""
    order = order_of(body, headers, headers.fal_priority, request, state.settings)
    if isinstance(body, JobForm):
        image = await _kept_file(body, state, request)
        return ParsedJobs([VectorizeRequest(image, body.options())], order)
    if body.kind == VECTORIZE:
        refuse_variations(body, "is for prompts; a picture has but one drawing")
        conversion = validate(ConversionInput, body.input)
        options = conversion.options()
        name = await keep_picture(conversion.image, conversion.result_id, state, request)
        return ParsedJobs([VectorizeRequest(name, options)], order)
    settings, illustrator = state.settings, request.app.state.illustrator
    if body.kind == FINISH:
        refuse_variations(body, "is for prompts; a picture is finished once")
        if illustrator is None:
            raise no_illustrator_error()
        finish_input = validate(FinishInput, body.input)
        picture = await PictureSources(request).picture(finish_input, order.user_id)
        finishing = finish_input.request(picture, settings.pictures.embed_metadata)
        await keep_pictures(finishing.options, request)
        return ParsedJobs([finishing], order)
    if body.kind == RESTYLE:
        refuse_variations(body, "is for prompts; a picture is painted once")
        if illustrator is None:
            raise no_illustrator_error()
        restyling = await restyling_request(validate(RestyleInput, body.input), request, order.user_id)
        await keep_pictures(restyling.options, request)
        return ParsedJobs([restyling], order)
    if body.kind == CAPTION:
        refuse_variations(body, "is for prompts; a picture is captioned once")
        return ParsedJobs([await caption_request(validate(CaptionInput, body.input), request, order.user_id)], order)
    values = with_first_prompt(body, settings.jobs.max_batch)
    if body.kind == PROMPT_TO_SVG:
        if "output_format" in values:
            raise InvalidRequest(f"is not a field of {PROMPT_TO_SVG}", "output_format")
        values = {**values, "output_format": "svg"}
    drawing_input = validate(DrawingInput, values)
    inputs = await PictureSources(request).options(drawing_input, order.user_id)
    book = book_of(request)
    drawing = await parse_drawing(drawing_input, settings, illustrator, book, inputs, state)
    await keep_pictures(drawing.options, request)
    batch = varied(drawing, body, settings.jobs.max_batch, lambda prompt: book.mixed(drawing_input, prompt, ""))
    if batch is None:
        return ParsedJobs([drawing], order)
    return ParsedJobs([await _with_loras(job, state) for job in batch], order, is_batch=True)


async def caption_request(body: CaptionInput, request: Request, user_id: str) -> CaptionRequest:
    """With its pictures in the object store. Raises Unsupported and NotFound as `Captioner.check`, and the errors of
    `PictureSources.picture`."""
    options = body.options()
    (await captioner_of(request)).check(options)
    state, sources, names = await state_of(request), PictureSources(request), []
    for i, one in enumerate(body.pictures):
        with rename_fields({name: f"pictures[{i}].{name}" for name in one.origins}):
            picture = await sources.shown(one, user_id)
            if picture is None:
                raise InvalidRequest("needs a picture", f"pictures[{i}].image")
        names.append((await state.objects.put(picture.data, media_type_of(picture.data))).name)
    return CaptionRequest(tuple(names), options)


async def _with_loras(job: IllustrateRequest, state: State) -> IllustrateRequest:
    with rename_fields({"loras": "prompts"}):
        return replace(job, options=await resolve_loras(job.options, state))


async def _kept_file(body: JobForm, state: State, request: Request) -> str:
    if body.image is None:
        return await keep_picture(None, body.result_id, state, request)
    if body.result_id is not None:
        raise InvalidRequest(f"says the same as {FIELD}; send one of them", RESULT)
    return await keep(await body.image.read(), state)


def order_of(
    body: JobFields, headers: KeyHeader, priority: str | None, request: Request, settings: Settings
) -> JobOptions:
    """``priority`` is a header's. Raises InvalidRequest naming the field, and Forbidden for another user's name."""
    if body.webhook_url is not None:
        check_webhook_url(body.webhook_url, settings)
    elif body.webhook_events is not None:
        raise InvalidRequest("is for a webhook_url; send it too", "webhook_events")
    default = PRIORITIES[priority or request_context.current().priority.name.lower()]
    order = JobOptions(
        user_id=principal_of(request).acting_user_id(body.user_id),
        priority=default if body.priority is None else body.priority,
        webhook_url=body.webhook_url,
        idempotency_key=headers.idempotency_key,
        timeout_s=body.timeout_s,
    )
    events = body.webhook_events
    return order if events is None else replace(order, webhook_events=tuple(dict.fromkeys(events)))


async def parse_drawing(
    body: SizedDrawingFields,
    settings: Settings,
    illustrator: IllustratorService | None,
    book: StyleBook,
    inputs: Mapping[str, Any],
    state: State,
) -> IllustrateRequest:
    """``body`` has a prompt, a number of pictures and a quality too; ``inputs`` are those of `PictureSources.options`.
    LoRAs have their files. Raises InvalidRequest and NotFound naming the field as the client does."""
    if illustrator is None:
        raise no_illustrator_error()
    prompt, n, name = (getattr(body, field) for field in ("prompt", "n", "quality"))
    drawing = body.styled_order(book, settings.pictures.embed_metadata, prompt=prompt, n=n, **inputs)
    with rename_fields(drawing.names):
        drawing = replace(drawing, options=await resolve_loras(drawing.options, state))
    related = [one.model_dump() for one in body.relationships or ()]
    more: dict[str, Any] = {"relationships": related} if related else {}  # only boxes come of them
    if name is None and not any(getattr(drawing.options, field) is not None for field in _OF_FAMILY):
        return IllustrateRequest(drawing.options, drawing.encoding, more)
    families = await _families(illustrator, needed=name is not None)
    if families is not None:
        with rename_fields(drawing.names):
            check(drawing.options, families)
    if name is None:
        return IllustrateRequest(drawing.options, drawing.encoding, more)
    quality = quality_of(name)
    options = drawing.options
    family = family_for(families or (), options.model, lambda one: one.offers(options))
    drawing = drawing.with_quality(quality, family)
    return IllustrateRequest(drawing.options, drawing.encoding, {**more, "quality": quality.name})


def check(options: IllustrateOptions, families: Sequence[FamilyInfo]) -> None:
    """As the Illustrator does. Raises NotFound for a model, InvalidRequest for a size or sampler that it has not."""
    family = family_for(families, options.model, lambda one: one.offers(options))
    if options.model not in (None, family.name):
        known = ", ".join(one.name for one in families)
        raise NotFound(f"there is no model {str(options.model)[:64]!a}; there are: {known}. {HOW_TO_BUILD}", "model")
    for name in ("width", "height"):
        side = getattr(options, name)
        if side is not None and family.nearest(side) != side:
            bounds = f"from {family.min_px} to {family.max_px} in multiples of {family.multiple_of_px}"
            raise InvalidRequest(f"must be {bounds} for model '{family.name}'", name)
    if options.sampler is not None and by_name(options.sampler).name not in family.samplers:
        raise InvalidRequest(f"must be one of {', '.join(family.samplers)} for model '{family.name}'", "sampler")


async def _families(illustrator: IllustratorService, needed: bool) -> Sequence[FamilyInfo] | None:
    """None if the Illustrator does not answer. Raises EngineUnavailable instead where its answer is ``needed``."""
    try:
        async with asyncio.timeout(FAMILIES_TIMEOUT_S):
            return await illustrator.families()
    except (TimeoutError, *_UNAVAILABLE):
        if needed:
            raise EngineUnavailable("the Illustrator is away, and alone knows the steps of a quality") from None
        return None


_ANSWER_S = 0.25
"""Seconds before the request's deadline at which it stops to wait for a job, so that its answer is in time."""
_WAIT = re.compile(r"wait(?:\s*=\s*\"?(\d{1,6})\"?)?", re.ASCII | re.IGNORECASE)


def wait_s(headers: Sequence[str], most: float) -> float:
    """Of ``Prefer: wait=SECONDS`` (RFC 7240), as far as it is honoured; 0 without one. A preference is no error,
    and the answer comes before the request's own deadline."""
    for header in headers:
        for preference in header.split(",")[:16]:
            match = _WAIT.fullmatch(preference.partition(";")[0].strip())
            if match is not None:
                limit_s = min(most, float(match[1])) if match[1] else most
                return max(0.0, min(limit_s, request_context.current().left_s(math.inf) - _ANSWER_S))
    return 0.0
