"""Requests for illustrations, refused where the direct doors refuse: what would fail later fails now.

What only the Illustrator knows is asked of it, briefly: a queue takes jobs also while what does them is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from serve.api.http.drawing import Vocabulary, chosen, how_many, names_of, parse_order
from serve.api.http.values import required_text, text, whole_within
from serve.api.native.presets import quality_of
from serve.diffusion.noise import MAX_SEED
from serve.diffusion.samplers import by_name
from serve.ensembles.illustrator.illustration import (
    HOW_TO_BUILD,
    MAX_PROMPT_CHARACTERS,
    RANDOM_SEED,
    FamilyInfo,
    IllustrateOptions,
    IllustratorService,
    no_illustrator_error,
)
from serve.ensembles.requests import IllustrateRequest
from serve.errors import DeadlineExceeded, EngineUnavailable, InvalidRequest, NotFound, Overloaded, rename_fields
from serve.settings import Settings

OWN = ("prompt", "n", "quality")
VARIATIONS = ("seeds", "prompts", "count")
"""Each makes a batch of jobs out of one request."""

ASKED_FOR_S = 2.0
_OF_FAMILY = ("model", "width", "height", "sampler")
_AWAY = (EngineUnavailable, Overloaded, DeadlineExceeded)


async def parse_drawing(
    values: Mapping[str, Any],
    vocabulary: Vocabulary,
    settings: Settings,
    illustrator: IllustratorService | None,
    **fixed: Any,
) -> IllustrateRequest:
    """``fixed`` as of ``parse_order``. Raises InvalidRequest and NotFound naming the field as the caller does."""
    if illustrator is None:
        raise no_illustrator_error()
    prompt = required_text(values, "prompt", MAX_PROMPT_CHARACTERS)
    fixed = {"prompt": prompt, "n": how_many(values), **fixed}
    drawing = parse_order(values, vocabulary, settings.pictures.embed_metadata, **fixed)
    quality = text(values, "quality", 256)
    if quality is None and not any(getattr(drawing.options, name) is not None for name in _OF_FAMILY):
        return IllustrateRequest(drawing.options, drawing.encoding)
    families = await _families(illustrator, needed=quality is not None)
    if families is not None:
        with rename_fields(drawing.names):
            check(drawing.options, families)
    if quality is None:
        return IllustrateRequest(drawing.options, drawing.encoding)
    found = quality_of(quality)
    drawing = drawing.with_quality(found, chosen(families or (), drawing.options.model))
    return IllustrateRequest(drawing.options, drawing.encoding, {"quality": found.name})


def names(vocabulary: Vocabulary) -> tuple[str, ...]:
    return (*OWN, *names_of(vocabulary))


def check(options: IllustrateOptions, families: Sequence[FamilyInfo]) -> None:
    """As the Illustrator does. Raises NotFound for a model, InvalidRequest for a size or sampler that it has not."""
    family = chosen(families, options.model)
    if options.model not in (None, family.name):
        known = ", ".join(one.name for one in families)
        raise NotFound(f"there is no model {str(options.model)[:64]!a}; there are: {known}. {HOW_TO_BUILD}", "model")
    for name in ("width", "height"):
        side = getattr(options, name)
        if side is not None and family.nearest(side) != side:
            what = f"from {family.min_px} to {family.max_px} in multiples of {family.multiple_of_px}"
            raise InvalidRequest(f"must be {what} for model '{family.name}'", name)
    if options.sampler is not None and by_name(options.sampler).name not in family.samplers:
        raise InvalidRequest(f"must be one of {', '.join(family.samplers)} for model '{family.name}'", "sampler")


async def _families(illustrator: IllustratorService, needed: bool) -> Sequence[FamilyInfo] | None:
    """None when it does not answer, and no answer is ``needed``."""
    try:
        async with asyncio.timeout(ASKED_FOR_S):
            return await illustrator.families()
    except (TimeoutError, *_AWAY):
        if needed:
            raise EngineUnavailable("the Illustrator is away, and alone knows the steps of a quality") from None
        return None


def with_first_prompt(values: Mapping[str, Any], body: Mapping[str, Any], most: int) -> Mapping[str, Any]:
    """``values`` of a request; for a batch of ``prompts`` with the first of them."""
    if body.get("prompts") is None:
        return values
    if values.get("prompt") is not None:
        raise InvalidRequest("says the same as prompts; send one of them", "prompt")
    return {**values, "prompt": _prompts(body, most)[0]}


def varied(request: IllustrateRequest, body: Mapping[str, Any], most: int) -> list[IllustrateRequest] | None:
    """The jobs of a batch, up to ``most``, as ``seeds``, ``prompts`` or ``count`` of ``body`` say; None: it is none.

    ``count`` draws on from the request's seed; without one, each has a seed of its own.
    """
    named = [name for name in VARIATIONS if body.get(name) is not None]
    if len(named) > 1:
        raise InvalidRequest(f"cannot be had together with {named[0]}; send one of them", named[1])
    if not named:
        return None
    if named == ["prompts"]:
        return [_with(request, prompt=prompt) for prompt in _prompts(body, most)]
    with rename_fields({"seed": "seeds"}):
        seeds = _seeds(body, most) if named == ["seeds"] else _counted(request, body, most)
        return [_with(request, seed=seed) for seed in seeds]


def _with(request: IllustrateRequest, **options: Any) -> IllustrateRequest:
    return replace(request, options=replace(request.options, **options))


def _prompts(body: Mapping[str, Any], most: int) -> list[str]:
    given = _list(body, "prompts", most)
    return [required_text({"prompts": one}, "prompts", MAX_PROMPT_CHARACTERS) for one in given]


def _seeds(body: Mapping[str, Any], most: int) -> list[int]:
    return [
        whole_within({"seeds": one}, "seeds", RANDOM_SEED, MAX_SEED, RANDOM_SEED) for one in _list(body, "seeds", most)
    ]


def _counted(request: IllustrateRequest, body: Mapping[str, Any], most: int) -> list[int | None]:
    count, seed, pictures = whole_within(body, "count", 1, most, 1), request.options.seed, request.options.n
    if seed is None or seed == RANDOM_SEED:
        return [None] * count
    return [(seed + place * pictures) % (MAX_SEED + 1) for place in range(count)]


def _list(body: Mapping[str, Any], name: str, most: int) -> list[Any]:
    given = body[name]
    if not isinstance(given, list) or not 1 <= len(given) <= most:
        raise InvalidRequest(f"must be a list of 1 to {most}", name)
    return given
