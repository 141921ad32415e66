"""The fields of captions, which their route and their jobs have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from serve.api.http.models import Number, RequestModel, Text, Whole
from serve.ensembles.captioner.options import MAX_BEAMS, MAX_TOKENS, MAX_WEIGHT, CaptionOptions

MAX_PICTURES = 100
"""Of one job."""
MAX_MODELS = 16
MAX_TIMEOUT_S = 600.0
ModelName = Annotated[Text, Field(min_length=1, max_length=64)]


class CaptionFields(RequestModel):
    models: Annotated[
        list[ModelName] | None,
        Field(min_length=1, max_length=MAX_MODELS, description="These alone; all that there are by default."),
    ] = None
    weights: Annotated[
        dict[ModelName, Annotated[Number, Field(ge=0, le=MAX_WEIGHT)]] | None,
        Field(max_length=MAX_MODELS, description="How much the captions of each model count; 1 by default."),
    ] = None
    prompt: Annotated[
        Text, Field(max_length=200, description="How captions of the engines begin, such as: a painting of")
    ] = ""
    beams: Annotated[Whole, Field(ge=1, le=MAX_BEAMS, description="1 is greedy decoding.")] = 3
    max_tokens: Annotated[Whole, Field(ge=1, le=MAX_TOKENS, description="Longest caption of an engine.")] = 30
    timeout_s: Annotated[Number, Field(gt=0, le=MAX_TIMEOUT_S, description="Seconds for each picture.")] = 60.0

    def options(self) -> CaptionOptions:
        return CaptionOptions(
            models=tuple(dict.fromkeys(self.models or ())),
            weights=self.weights or {},
            prompt=self.prompt,
            beams=self.beams,
            max_tokens=self.max_tokens,
            timeout_s=self.timeout_s,
        )
