"""Styles: named bundles of prompt words, negative words, colours and defaults, and how several of them mix.

A style is a table ``[[style]]`` of a TOML file. Its words follow the prompt; with a weight other than 1 they are
stressed in AUTOMATIC1111's notation (`serve.diffusion.prompt`). Of steps, guidance and sampler, the style of the
largest weight that states one decides, unless the request does.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve.diffusion.samplers import by_name
from serve.errors import InvalidRequest

KINDS = ("style", "palette", "mood")
MAX_WEIGHT = 2.0
MAX_MIXED = 4
MAX_LORAS, MAX_LORA_WEIGHT = 4, 4.0
"""Of one style; weights are those of drawing requests."""
MAX_STYLES = 1000
_MAX_WORDS = 2000

Colour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]


class StyleLora(BaseModel):
    """A LoRA of the site, by its name."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    weight: float = Field(1.0, ge=-MAX_LORA_WEIGHT, le=MAX_LORA_WEIGHT)


class Style(BaseModel):
    """``prompt`` and ``negative_prompt`` are words that are added. ``colors`` are those of a palette."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9 _-]{0,63}$")
    kind: Literal["style", "palette", "mood"] = "style"
    prompt: str = Field(min_length=1, max_length=_MAX_WORDS)
    negative_prompt: str = Field("", max_length=_MAX_WORDS)
    colors: tuple[Colour, ...] = Field((), max_length=64)
    loras: tuple[StyleLora, ...] = Field((), max_length=MAX_LORAS)
    num_inference_steps: int | None = Field(None, ge=1, le=1000)
    guidance_scale: float | None = Field(None, ge=0, le=50)
    sampler: str | None = None


@dataclass(frozen=True)
class MixedStyles:
    """``defaults``: values of `IllustrateOptions` for those that a request leaves out. ``loras``: weights by name."""

    prompt: str
    negative_prompt: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    colors: tuple[str, ...] = ()
    loras: Mapping[str, float] = field(default_factory=dict)


def mix(prompt: str, negative_prompt: str, weighted: Sequence[tuple[Style, float]]) -> MixedStyles:
    """``prompt`` with the words of styles and their weights, in the order given. A LoRA's weight is multiplied by that
    of its style; those of several styles are added, within the range of weights."""
    words = [prompt, *(_stressed(style.prompt, weight) for style, weight in weighted)]
    negatives = [negative_prompt, *(_stressed(style.negative_prompt, weight) for style, weight in weighted)]
    defaults: dict[str, Any] = {}
    for style, _ in sorted(weighted, key=lambda pair: -pair[1]):
        for name in ("num_inference_steps", "guidance_scale", "sampler"):
            if (value := getattr(style, name)) is not None:
                defaults.setdefault(name, value)
    colors = tuple(dict.fromkeys(color for style, _ in weighted for color in style.colors))
    loras = summed_loras(*({lora.name: weight * lora.weight} for style, weight in weighted for lora in style.loras))
    return MixedStyles(", ".join(filter(None, words)), ", ".join(filter(None, negatives)), defaults, colors, loras)


def summed_loras(*weights: Mapping[str, float]) -> dict[str, float]:
    """Weights by name, those of one LoRA added within the range of weights."""
    loras: dict[str, float] = {}
    for name, weight in (pair for one in weights for pair in one.items()):
        loras[name] = max(-MAX_LORA_WEIGHT, min(MAX_LORA_WEIGHT, loras.get(name, 0.0) + weight))
    return loras


def _stressed(words: str, weight: float) -> str:
    return words if weight == 1.0 or not words else f"({words}:{weight:g})"


def read_styles(text: str) -> list[Style]:
    """The styles of a TOML file. Raises InvalidRequest naming the table and its key."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidRequest(f"is not valid TOML: {error}") from None
    tables = document.get("style", [])
    if not isinstance(tables, list) or document.keys() - {"style"}:
        raise InvalidRequest("may only have tables [[style]]")
    return [_style(table, place) for place, table in enumerate(tables, 1)]


def _style(table: Any, place: int) -> Style:
    try:
        style = Style.model_validate(table)
        if style.sampler is not None:
            by_name(style.sampler)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidRequest(f"style {place}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except InvalidRequest as error:
        raise InvalidRequest(f"style {place}: sampler: {error.message}") from None
    return style


def load_styles(files: Iterable[Path]) -> dict[tuple[str, str], Style]:
    """By (kind, name); a style of a later file replaces that of an earlier one. Raises InvalidRequest with the file."""
    styles: dict[tuple[str, str], Style] = {}
    for file in files:
        try:
            found = read_styles(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{file.name} cannot be read ({type(error).__name__})") from None
        except InvalidRequest as error:
            raise InvalidRequest(f"{file.name}: {error.message}") from None
        styles |= {(style.kind, style.name): style for style in found}
    if len(styles) > MAX_STYLES:
        raise InvalidRequest(f"there are {len(styles)} styles; at most {MAX_STYLES} are allowed")
    return styles
