"""The body of `POST /v1/images/generations`: what is honoured, what is accepted and what is refused.

Source: the reference of OpenAI's Images API (create image), as the package openai 3.52 has it. Keys that are not known
are accepted, for clients add their own. Ours on top of OpenAI's: ``seed``, ``negative_prompt``, ``steps`` or
``num_inference_steps``, ``guidance_scale``, ``sampler``, ``metadata``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve.api.http.drawing import SNAKE_CASE, Order, Vocabulary, chosen, how_many, parse_order
from serve.api.http.drawing_schema import PROMPT, options_of
from serve.api.http.values import choice, flag, required_text, text, whole_within
from serve.api.native.presets import quality_of
from serve.ensembles.illustrator.illustration import MAX_PICTURES, MAX_PROMPT_CHARACTERS, FamilyInfo
from serve.errors import InvalidRequest, UnsupportedOperation

MAX_SIDE = 16_384
"""Of a size that is snapped; above it nobody means it."""
MAX_PARTIAL_IMAGES = 3

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)
_QUALITIES = {
    "auto": "standard", "low": "draft", "medium": "standard", "high": "high quality", "xhigh": "high quality",
    "max": "high quality", "standard": "standard", "hd": "high quality",
}  # fmt: skip
_LEGACY = {"auto": "medium", "standard": "medium", "hd": "high"}
_BACKGROUNDS = ("auto", "transparent", "opaque")
_RESPONSE_FORMATS = ("b64_json", "url")
_MODERATIONS = ("auto", "low")

_VOCABULARY: Vocabulary = {**SNAKE_CASE, "width": ("size",), "height": ("size",)}


@dataclass(frozen=True)
class ImagesRequest:
    """``size`` is (width, height) as it is drawn; ``partial_images`` is None where nothing is streamed."""

    order: Order
    size: tuple[int, int]
    steps: int
    quality: str
    as_url: bool
    partial_images: int | None
    safety_identifier: str | None

    @property
    def preview_every(self) -> int:
        """Steps between previews, so that there are ``partial_images`` before the end if there are steps enough."""
        if not self.partial_images:
            return 0
        every = max(1, round(self.steps / (self.partial_images + 1)))
        if self.partial_images * every >= self.steps:
            every = max(1, self.steps // (self.partial_images + 1))
        return every


def parse(values: Mapping[str, Any], families: Sequence[FamilyInfo], metadata: bool) -> ImagesRequest:
    """Raises ``InvalidRequest`` naming the key at fault; any ``model`` is taken, for clients name OpenAI's."""
    family = chosen(families, text(values, "model"))
    prompt = required_text(values, "prompt", MAX_PROMPT_CHARACTERS)
    size = snapped(text(values, "size") or "auto", family)
    if values.get("output_format") == "gif":
        raise UnsupportedOperation("gif is not offered; use png, jpeg, webp or svg", "output_format")
    asked: dict[str, Any] = {"width": size[0], "height": size[1], "model": family.name, "n": how_many(values)}
    if choice(values, "moderation", _MODERATIONS, "auto") != "auto":
        asked["moderation"] = "low"
    order = parse_order(values, _VOCABULARY, metadata, prompt=prompt, **asked)
    quality = choice(values, "quality", _QUALITIES, "auto")
    choice(values, "background", _BACKGROUNDS, "auto")
    order = order.with_quality(quality_of(_QUALITIES[quality]), family)
    return ImagesRequest(
        order,
        size,
        order.options.num_inference_steps or family.num_inference_steps,
        _LEGACY.get(quality, quality),
        choice(values, "response_format", _RESPONSE_FORMATS, "b64_json") == "url",
        _partial_images(values, order),
        text(values, "safety_identifier", 512) or text(values, "user", 512),
    )


def check_variation(values: Mapping[str, Any], families: Sequence[FamilyInfo]) -> None:
    """Of what a variation may ask for. Raises as ``parse`` does."""
    asked = {name: values.get(name) for name in ("model", "n", "response_format", "size", "user")}
    parse({**asked, "prompt": "a variation"}, families, metadata=False)


def _partial_images(values: Mapping[str, Any], order: Order) -> int | None:
    count = whole_within(values, "partial_images", 0, MAX_PARTIAL_IMAGES, 0)
    if not flag(values, "stream"):
        return None
    if order.encoding.format == "svg":
        raise InvalidRequest("svg cannot be streamed; leave stream out, or use png, jpeg or webp", "stream")
    return count


def snapped(size: str, family: FamilyInfo) -> tuple[int, int]:
    """(width, height) that ``family`` draws, nearest to ``size``: of the same shape where the family has limits.

    ``size`` is "auto", the family's own, or "WIDTHxHEIGHT".
    """
    if size == "auto":
        return family.width, family.height
    found = _SIZE.fullmatch(size)
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise InvalidRequest(f"must be auto or WIDTHxHEIGHT, with sides from 1 to {MAX_SIDE}", "size")
    return family.nearest_size(width, height)


_TEXT = {"type": ["string", "null"]}
PROPERTIES: dict[str, Any] = {
    "prompt": PROMPT,
    "model": {**_TEXT, "description": "one of GET /v1/models; any other name means the first of them"},
    "n": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_PICTURES, "default": 1},
    "size": {**_TEXT, "description": "auto or WIDTHxHEIGHT; the nearest that the model draws is drawn"},
    "quality": {"enum": [*_QUALITIES, None], "default": "auto", "description": "of the steps, where none are given"},
    "response_format": {"enum": [*_RESPONSE_FORMATS, None], "description": "url: where it is kept"},
    "background": {"enum": [*_BACKGROUNDS, None], "description": "accepted; pictures are opaque"},
    "stream": {"type": ["boolean", "null"], "default": False},
    "partial_images": {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_PARTIAL_IMAGES, "default": 0},
    "user": _TEXT,
    "safety_identifier": _TEXT,
    "moderation": {"enum": [*_MODERATIONS, None], "description": "low: only what is surer is flagged or refused"},
    "style": {**_TEXT, "description": "accepted, without effect"},
    **{name: schema for name, schema in options_of(SNAKE_CASE).items() if name not in ("width", "height", "model")},
}
