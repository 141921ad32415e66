"""A batch of jobs out of one request: by ``seeds``, ``prompts`` or ``count``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from serve.api.http.loras import take_tags
from serve.api.jobs.request_models import (
    JobRequestBody,
)
from serve.diffusion.noise import MAX_SEED
from serve.diffusion.styles import MixedStyles
from serve.ensembles.illustrator.adapters import LoraUse
from serve.ensembles.illustrator.illustration import RANDOM_SEED
from serve.ensembles.requests import IllustrateRequest
from serve.errors import InvalidRequest, rename_fields

VARIATIONS = ("seeds", "prompts", "count")
"""Each makes a batch of jobs out of one request."""


def refuse_variations(body: JobRequestBody, why: str) -> None:
    for name in VARIATIONS:
        if getattr(body, name) is not None:
            raise InvalidRequest(why, name)


def with_first_prompt(body: JobRequestBody, most: int) -> Mapping[str, Any]:
    """The input; for a batch of ``prompts`` with the first of them."""
    values: Mapping[str, Any] = body.input  # type: ignore[assignment]  # validated by kind, later
    if body.prompts is None:
        return values
    if values.get("prompt") is not None:
        raise InvalidRequest("says the same as prompts; send one of them", "prompt")
    _check_length(body.prompts, "prompts", most)
    first, _ = take_tags(body.prompts[0], "prompts")  # its LoRAs are its own alone
    return {**values, "prompt": first or body.prompts[0]}


def varied(
    request: IllustrateRequest, body: JobRequestBody, most: int, styled: Callable[[str], MixedStyles]
) -> list[IllustrateRequest] | None:
    """The jobs of a batch, up to ``most``, by ``seeds``, ``prompts`` or ``count``; None for a single job.

    ``count`` continues from the request's seed; without one, each job has a seed of its own.
    """
    named = [name for name in VARIATIONS if getattr(body, name) is not None]
    if len(named) > 1:
        raise InvalidRequest(f"cannot be had together with {named[0]}; send one of them", named[1])
    if body.prompts is not None:
        with rename_fields({"loras": "prompts"}):
            return [_with_prompt(request, *take_tags(prompt, "prompts"), styled) for prompt in body.prompts]
    if body.seeds is not None:
        _check_length(body.seeds, "seeds", most)
        with rename_fields({"seed": "seeds"}):
            return [_with(request, seed=seed) for seed in body.seeds]
    if body.count is not None:
        if body.count > most:
            raise InvalidRequest(f"must be from 1 to {most}", "count")
        return [_with(request, seed=seed) for seed in _following_seeds(request, body.count)]
    return None


def _with_prompt(
    request: IllustrateRequest, prompt: str, own: tuple[LoraUse, ...], styled: Callable[[str], MixedStyles]
) -> IllustrateRequest:
    """With the LoRAs of the prompt's tags, which replace those of the same names that styles have."""
    mixed, named = styled(prompt), {lora.name for lora in own}
    common = (lora for lora in request.options.loras if not (lora.name in mixed.loras and lora.name in named))
    return _with(request, prompt=mixed.prompt, loras=(*common, *own))


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
