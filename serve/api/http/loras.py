"""The LoRAs of drawing requests: a field, and tags in prompts as AUTOMATIC1111's web UI has them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from serve.api.http.models import Number, RequestModel, Text, weighted_names
from serve.ensembles.illustrator.adapters import MAX_LORAS, MAX_WEIGHT, LoraUse
from serve.ensembles.illustrator.service import FamilyInfo
from serve.errors import InvalidRequest

_TAG = re.compile(r"<lora:([^:<>]{1,256})(?::([^:<>]{1,32}))?(?::[^<>]{0,64})?>")
_CHOICE = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9_.-]{0,63})\s*(?::\s*([+-]?[0-9.]{1,16})\s*)?", re.ASCII)


class LoraChoice(RequestModel):
    name: Annotated[Text, Field(min_length=1, max_length=64, description="one of GET /v1/loras")]
    weight: Annotated[Number, Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT)] = 1.0


LoraChoices = Annotated[
    list[LoraChoice] | None,
    weighted_names(_CHOICE, MAX_LORAS, "ink:0.6, sketch:-0.4"),
    Field(
        max_length=MAX_LORAS,
        description="LoRAs of the site with weights, such as ink:0.6; <lora:ink:0.6> in the prompt says the same",
        examples=[[{"name": "ink", "weight": 0.6}]],
    ),
]


def chosen(choices: list[LoraChoice] | None) -> tuple[LoraUse, ...]:
    return tuple(LoraUse(choice.name, choice.weight, "") for choice in choices or ())


def take_tags(prompt: str, field: str = "prompt") -> tuple[str, tuple[LoraUse, ...]]:
    """``prompt`` without its tags ``<lora:NAME:WEIGHT>``, and what they name. Raises InvalidRequest with ``field``."""
    if "<lora:" not in prompt:
        return prompt, ()
    uses = tuple(LoraUse(match[1].strip(), _weight(match[2], field), "") for match in _TAG.finditer(prompt))
    return _TAG.sub("", prompt).strip(), uses


def suits(family: FamilyInfo, prompt: str) -> bool:
    """Whether ``family`` takes LoRAs, where ``prompt`` has tags of any."""
    return family.takes_loras or _TAG.search(prompt) is None


def _weight(text: str | None, field: str) -> float:
    try:
        weight = 1.0 if text is None else float(text)
    except ValueError:
        weight = float("nan")
    if not abs(weight) <= MAX_WEIGHT:
        raise InvalidRequest(
            f"names a LoRA with a weight that is no number from -{MAX_WEIGHT:g} to {MAX_WEIGHT:g}", field
        )
    return weight
