"""Presets of prompts and of effort (C-022), written for this project.

A template is put around the caller's prompt; its negative prompt is added to the caller's. A quality multiplies the
number of steps that the model takes by itself, so that it means the same for a model of 4 steps and one of 30.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from serve.ensembles.illustrator.illustration import MAX_STEPS
from serve.ensembles.illustrator.service import FamilyInfo
from serve.errors import InvalidRequest

PLACE = "{prompt}"


@dataclass(frozen=True)
class Template:
    """``prompt`` has ``PLACE`` where the caller's goes."""

    name: str
    prompt: str
    negative_prompt: str


@dataclass(frozen=True)
class Quality:
    name: str
    description: str
    steps_factor: float
    candidates: int = 1
    """Drawn for each picture, where the model has a judge."""


CATEGORIES: Mapping[str, tuple[Template, ...]] = {
    "landscape": (
        Template(
            "wide view", "{prompt}, wide view of a landscape, soft daylight, deep distance", "people, text, frame"
        ),
        Template("golden hour", "{prompt} at golden hour, low warm sun, long shadows, glowing sky", "flat light, text"),
        Template(
            "misty morning", "{prompt} in morning mist, layered hills, muted colours, calm", "harsh contrast, text"
        ),
    ),
    "portrait": (
        Template(
            "studio", "portrait of {prompt}, head and shoulders, plain background, soft light", "crowd, cut off, text"
        ),
        Template(
            "storybook", "storybook portrait of {prompt}, friendly face, round shapes, warm colours", "scary, photo"
        ),
        Template("silhouette", "profile silhouette of {prompt}, bold outline, two colours", "detail, shading, text"),
    ),
    "abstract": (
        Template(
            "geometric",
            "{prompt} as overlapping geometric shapes, flat colours, strong rhythm",
            "photo, gradient, text",
        ),
        Template(
            "flowing", "{prompt} as flowing ribbons of colour, smooth curves, sense of motion", "photo, sharp corners"
        ),
        Template(
            "minimal", "{prompt} reduced to a few simple shapes, much empty space, two colours", "clutter, texture"
        ),
    ),
    "fantasy": (
        Template(
            "enchanted", "{prompt} in an enchanted forest, glowing lights, ancient trees", "modern city, car, text"
        ),
        Template("legend", "{prompt}, heroic legend, dramatic sky, ornate detail", "modern clothes, text"),
        Template(
            "fairy tale", "fairy tale picture of {prompt}, pastel colours, sparkles, gentle mood", "dark, horror, text"
        ),
    ),
    "sci-fi": (
        Template(
            "neon city", "{prompt} in a neon city at night, rain, reflections, tall towers", "medieval, daylight, text"
        ),
        Template(
            "deep space", "{prompt} in deep space, planets, stars, a bright nebula behind", "forest, animals, text"
        ),
        Template(
            "retro future", "retro futuristic poster of {prompt}, clean lines, bold flat colours", "photo, rust, text"
        ),
    ),
}

QUALITIES: tuple[Quality, ...] = (
    Quality("draft", "half of the steps: a first look", 0.5),
    Quality("standard", "the steps that the model takes by itself", 1.0),
    Quality("high quality", "twice the steps: cleaner detail", 2.0, candidates=4),
)


def template_of(name: str) -> Template:
    """The template called ``category`` (its first) or ``category/template``. Raises ``InvalidRequest``."""
    category, _, template_name = name.partition("/")
    for template in CATEGORIES.get(category, ()):
        if template_name in ("", template.name):
            return template
    raise InvalidRequest(f"must be {', '.join(CATEGORIES)}, or one of their templates as category/template", "preset")


def apply(template: Template, prompt: str, negative_prompt: str) -> tuple[str, str]:
    """(prompt, negative prompt) inside of ``template``."""
    negatives = [text for text in (negative_prompt, template.negative_prompt) if text]
    return template.prompt.replace(PLACE, prompt), ", ".join(negatives)


def quality_of(name: str) -> Quality:
    for quality in QUALITIES:
        if quality.name == name:
            return quality
    raise InvalidRequest(f"must be one of {', '.join(quality.name for quality in QUALITIES)}", "quality")


def steps_of(quality: Quality, family: FamilyInfo) -> int:
    """Where the family draws its usual steps."""
    return min(MAX_STEPS, max(1, round(quality.steps_factor * family.num_inference_steps)))
