"""The body of `POST /v1/jobs`, JSON or a form, as requests for the queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from serve.api.http.bodies import read_form, read_json
from serve.api.http.drawing import SNAKE_CASE
from serve.api.http.values import choice, mapping, refuse_unknown
from serve.api.jobs import orders, pictures
from serve.api.jobs.checks import VARIATIONS, names, parse_drawing, varied, with_first_prompt
from serve.api.native.conversion_models import CONVERSION_FIELDS, vectorize_options
from serve.ensembles.illustrator.illustration import IllustratorService
from serve.ensembles.requests import ILLUSTRATE, VECTORIZE, JobRequest, VectorizeRequest
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.errors import InvalidRequest
from serve.jobs.queue.insertion import JobOptions
from serve.state import State
from serve.vector.image import FIELD

PROMPT_TO_SVG = "prompt_to_svg"
KINDS = (ILLUSTRATE, VECTORIZE, PROMPT_TO_SVG)
FIELDS = ("kind", "input", *orders.NAMES, *VARIATIONS)
INPUTS = {
    ILLUSTRATE: names(SNAKE_CASE),
    VECTORIZE: (FIELD, pictures.RESULT, *CONVERSION_FIELDS),
    PROMPT_TO_SVG: tuple(name for name in names(SNAKE_CASE) if name != "output_format"),
}


@dataclass(frozen=True)
class ParsedJobs:
    """``requests`` are one job, or a batch."""

    requests: Sequence[JobRequest]
    order: JobOptions
    is_batch: bool = False


async def read(request: Request, state: State, illustrator: IllustratorService | None) -> ParsedJobs:
    """Raises InvalidRequest naming the field at fault, and what keeping a picture raises."""
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await _form(request, state)
    body = await read_json(request, state.settings.limits)
    refuse_unknown(body, FIELDS)
    order = orders.order_of(body, request, state.settings)
    kind = choice(body, "kind", KINDS, "")
    if not kind:
        raise InvalidRequest(f"is required: one of {', '.join(KINDS)}", "kind")
    values = mapping(body, "input")
    refuse_unknown(values, INPUTS[kind])
    if kind == VECTORIZE:
        for name in VARIATIONS:
            if body.get(name) is not None:
                raise InvalidRequest("is for prompts; a picture has but one drawing", name)
        asked = _vectorize_options(values)
        return ParsedJobs([VectorizeRequest(await pictures.keep_picture(values, state, request), asked)], order)
    most = state.settings.jobs.max_batch
    values = with_first_prompt(values, body, most)
    if kind == PROMPT_TO_SVG:
        values = {**values, "output_format": "svg"}
    drawing = await parse_drawing(values, SNAKE_CASE, state.settings, illustrator)
    batch = varied(drawing, body, most)
    return ParsedJobs([drawing], order) if batch is None else ParsedJobs(batch, order, is_batch=True)


async def _form(request: Request, state: State) -> ParsedJobs:
    """A picture as a file, and every field beside it."""
    form = await read_form(request, state.settings.limits)
    refuse_unknown(form.files, (FIELD,))
    refuse_unknown(form.fields, ("kind", *orders.NAMES, pictures.RESULT, *CONVERSION_FIELDS))
    choice(form.fields, "kind", (VECTORIZE,), VECTORIZE)
    order = orders.order_of(form.fields, request, state.settings)
    asked = _vectorize_options(form.fields)
    if FIELD not in form.files:
        image = await pictures.keep_picture(form.fields, state, request)
    elif form.fields.get(pictures.RESULT):
        raise InvalidRequest(f"says the same as {FIELD}; send one of them", pictures.RESULT)
    else:
        image = await pictures.keep(form.files[FIELD], state)
    return ParsedJobs([VectorizeRequest(image, asked)], order)


def _vectorize_options(values: Mapping[str, Any]) -> VectorizeOptions:
    return vectorize_options({name: values[name] for name in CONVERSION_FIELDS if name in values})
