"""Requests of the queue's routes as orders and requests of the queue, refused where the direct routes refuse them.

Only the Illustrator knows its models, sizes and samplers. They are requested with a short timeout: the queue accepts
jobs also while the Illustrator is unavailable.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request

from serve.api.http.callers import KeyHeader
from serve.api.http.drawing import SizedDrawingFields, family_for
from serve.api.http.fetching import fetcher_of
from serve.api.http.models import validate
from serve.api.http.ownership import check_own
from serve.api.jobs.dependencies import checked_id
from serve.api.jobs.request_models import (
    PROMPT_TO_SVG,
    ConversionInput,
    DrawingInput,
    JobFields,
    JobForm,
    JobHeaders,
    JobRequestBody,
)
from serve.api.library.picture_sources import PictureSources, keep_pictures
from serve.api.middleware.authentication import principal_of
from serve.api.native.presets import quality_of
from serve.api.native.styles import StyleBook, book_of
from serve.diffusion.noise import MAX_SEED
from serve.diffusion.samplers import by_name
from serve.ensembles.illustrator.illustration import (
    HOW_TO_BUILD,
    RANDOM_SEED,
    FamilyInfo,
    IllustrateOptions,
    IllustratorService,
    no_illustrator_error,
)
from serve.ensembles.illustrator.picture_source import PictureSource
from serve.ensembles.requests import VECTORIZE, IllustrateRequest, JobRequest, VectorizeRequest
from serve.errors import DeadlineExceeded, EngineUnavailable, InvalidRequest, NotFound, Overloaded, rename_fields
from serve.jobs.queue.generation_queue import PRIORITIES
from serve.jobs.queue.insertion import JobOptions
from serve.jobs.webhooks.client import check_webhook_url
from serve.observability import request_context
from serve.security.fetching.fetcher import decode_data_url, is_data_url
from serve.settings import Settings
from serve.state import State
from serve.state.gallery import get_result
from serve.state.objects import media_type_of
from serve.vector.image import FIELD, ImageLimits
from serve.vector.image import check as check_picture

VARIATIONS = ("seeds", "prompts", "count")
"""Each makes a batch of jobs out of one request."""
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
        for name in VARIATIONS:
            if getattr(body, name) is not None:
                raise InvalidRequest("is for prompts; a picture has but one drawing", name)
        conversion = validate(ConversionInput, body.input)
        options = conversion.options()
        image = await keep_picture(conversion.image, conversion.result_id, state, request)
        return ParsedJobs([VectorizeRequest(image, options)], order)
    settings, illustrator = state.settings, request.app.state.illustrator
    values = _with_first_prompt(body, settings.jobs.max_batch)
    if body.kind == PROMPT_TO_SVG:
        if "output_format" in values:
            raise InvalidRequest(f"is not a field of {PROMPT_TO_SVG}", "output_format")
        values = {**values, "output_format": "svg"}
    drawing_input = validate(DrawingInput, values)
    source = await PictureSources(request).of(drawing_input, order.user_id)
    book = book_of(request)
    drawing = await parse_drawing(drawing_input, settings, illustrator, book, source)
    await keep_pictures(source, request)
    batch = _varied(drawing, body, settings.jobs.max_batch, lambda prompt: book.mixed(drawing_input, prompt, "").prompt)
    return ParsedJobs([drawing], order) if batch is None else ParsedJobs(batch, order, is_batch=True)


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
    source: PictureSource | None = None,
) -> IllustrateRequest:
    """``body`` has a prompt, a number of pictures and a quality too. Raises InvalidRequest and NotFound naming the
    field as the client does."""
    if illustrator is None:
        raise no_illustrator_error()
    prompt, n, name = (getattr(body, field) for field in ("prompt", "n", "quality"))
    drawing = body.styled_order(book, settings.pictures.embed_metadata, prompt=prompt, n=n, source=source)
    if name is None and not any(getattr(drawing.options, field) is not None for field in _OF_FAMILY):
        return IllustrateRequest(drawing.options, drawing.encoding)
    families = await _families(illustrator, needed=name is not None)
    if families is not None:
        with rename_fields(drawing.names):
            check(drawing.options, families)
    if name is None:
        return IllustrateRequest(drawing.options, drawing.encoding)
    quality = quality_of(name)
    drawing = drawing.with_quality(quality, family_for(families or (), drawing.options.model))
    return IllustrateRequest(drawing.options, drawing.encoding, {"quality": quality.name})


def check(options: IllustrateOptions, families: Sequence[FamilyInfo]) -> None:
    """As the Illustrator does. Raises NotFound for a model, InvalidRequest for a size or sampler that it has not."""
    family = family_for(families, options.model)
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


def _with_first_prompt(body: JobRequestBody, most: int) -> Mapping[str, Any]:
    """The input; for a batch of ``prompts`` with the first of them."""
    values: Mapping[str, Any] = body.input  # type: ignore[assignment]  # validated by kind, later
    if body.prompts is None:
        return values
    if values.get("prompt") is not None:
        raise InvalidRequest("says the same as prompts; send one of them", "prompt")
    _check_length(body.prompts, "prompts", most)
    return {**values, "prompt": body.prompts[0]}


def _varied(
    request: IllustrateRequest, body: JobRequestBody, most: int, styled: Callable[[str], str]
) -> list[IllustrateRequest] | None:
    """The jobs of a batch, up to ``most``, by ``seeds``, ``prompts`` or ``count``; None for a single job.

    ``count`` continues from the request's seed; without one, each job has a seed of its own.
    """
    named = [name for name in VARIATIONS if getattr(body, name) is not None]
    if len(named) > 1:
        raise InvalidRequest(f"cannot be had together with {named[0]}; send one of them", named[1])
    if body.prompts is not None:
        return [_with(request, prompt=styled(prompt)) for prompt in body.prompts]
    if body.seeds is not None:
        _check_length(body.seeds, "seeds", most)
        with rename_fields({"seed": "seeds"}):
            return [_with(request, seed=seed) for seed in body.seeds]
    if body.count is not None:
        if body.count > most:
            raise InvalidRequest(f"must be from 1 to {most}", "count")
        return [_with(request, seed=seed) for seed in _following_seeds(request, body.count)]
    return None


def _with(request: IllustrateRequest, **options: Any) -> IllustrateRequest:
    return replace(request, options=replace(request.options, **options))


def _following_seeds(request: IllustrateRequest, count: int) -> list[int | None]:
    seed, pictures_each = request.options.seed, request.options.n
    if seed is None or seed == RANDOM_SEED:
        return [None] * count
    return [(seed + place * pictures_each) % (MAX_SEED + 1) for place in range(count)]


def _check_length(values: Sequence[Any], name: str, most: int) -> None:
    if not 1 <= len(values) <= most:
        raise InvalidRequest(f"must be a list of 1 to {most}", name)


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


RESULT = "result_id"


async def keep_picture(url: str | None, result_id: str | None, state: State, request: Request) -> str:
    """The name of the object of a picture: ``url`` is a ``data:`` or ``https:`` URL, ``result_id`` a stored result.

    Raises as ``keep`` does, and InvalidRequest for a URL that may not be fetched.
    """
    if url is not None and result_id is not None:
        raise InvalidRequest(f"says the same as {FIELD}; send one of them", RESULT)
    if result_id is not None:
        with rename_fields({"id": RESULT, FIELD: RESULT}):
            await check_own(request, "result", [checked_id(result_id, "result")])
            stored = await get_result(state.database, result_id)
            return await keep(await state.objects.get(stored.object), state)
    if url is None:
        raise InvalidRequest("is required: a data: or https: URL, or name a result_id", FIELD)
    if not is_data_url(url):
        return await keep(await (await fetcher_of(request)).fetch_picture(url, FIELD), state)
    return await keep(
        await asyncio.to_thread(decode_data_url, url, state.settings.vectorizer.image.max_bytes, FIELD), state
    )


async def keep(data: bytes, state: State) -> str:
    """Raises TooLarge, UnsupportedMedia and BadImage for an unreadable picture, StateUnavailable, OutOfSpace."""
    limits = ImageLimits(**state.settings.vectorizer.image.model_dump())
    await asyncio.to_thread(check_picture, data, limits)
    return (await state.objects.put(data, media_type_of(data))).name
