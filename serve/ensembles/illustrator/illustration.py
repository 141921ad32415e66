"""Request and answer of the Illustrator: frozen, picklable, light to import."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.diffusion.guidance import NO_GUIDANCE
from serve.diffusion.noise import MAX_SEED
from serve.ensembles.illustrator.adapters import (
    MAX_LORAS,
    MAX_PICTURES_EACH,
    ControlUse,
    LoraUse,
    ReferenceUse,
    check_loras,
    check_uses,
    loaded,
    pictures_of,
)
from serve.ensembles.illustrator.finishing.finish import NO_FINISH, Finish, Hires
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.ensembles.illustrator.regions import MAX_REGIONS, Region, field_of
from serve.ensembles.ranges import check_number
from serve.ensembles.restyler.restyle import Restyle
from serve.errors import InvalidRequest, NotFound

ILLUSTRATE = "illustrate"
"""Name of the Illustrator in answers and metrics."""
MAX_PICTURES = 10
MAX_CANDIDATES = 8
"""For each picture."""
MAX_DRAWN = 16
"""Candidates of all pictures of a request."""
MAX_PROMPT_CHARACTERS = 32_000
MAX_SIDE_PX = 4096
MAX_STEPS = 1000
MAX_GUIDANCE = 50.0
RANDOM_SEED = -1
"""Means a random seed, as in many clients."""
RANDOM_SEEDS = 2**32
"""Exclusive upper bound of random seeds: short enough to write down."""
HOW_TO_BUILD = "build one with `python -m build_engines illustrate --source DIR_OR_HUB_ID --name NAME`"

RANGES: Mapping[str, tuple[int, int]] = {
    "width": (1, MAX_SIDE_PX),
    "height": (1, MAX_SIDE_PX),
    "num_inference_steps": (1, MAX_STEPS),
    "seed": (RANDOM_SEED, MAX_SEED),
    "n": (1, MAX_PICTURES),
    "candidates": (1, MAX_CANDIDATES),
    "preview_every": (0, MAX_STEPS),
}
"""Ranges of the integer options."""
SCALES: Mapping[str, tuple[float, float]] = {
    "guidance_scale": (0.0, MAX_GUIDANCE),
    "guidance_rescale": (0.0, 1.0),
    "timeout_s": (0.001, 3600.0),
}

_OPTIONAL = ("source", "regions", "loras", "controls", "references", "hires", "restyle", "finish")
"""Parameters that are left out where they are None."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class IllustrateOptions:
    """Options of a drawing; None means the family's default.

    Raises ``InvalidRequest`` with the field's name for values out of range. Family-specific limits (sizes, samplers)
    are checked by the Illustrator.
    """

    prompt: str
    negative_prompt: str = ""
    model: str | None = None
    """The family; None: the site's first."""
    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    guidance_rescale: float = 0.0
    sampler: str | None = None
    seed: int | None = None
    """Seed of the first picture; picture i has ``seed + i``. None or -1: random, reported in the answer."""
    n: int = 1
    candidates: int = 1
    """Drawn for each picture, with consecutive seeds; the one that fits the prompt best is the answer. More than one
    needs a family with a judge, or engines that rank."""
    preview_every: int = 0
    """A preview after every this many steps; 0: none."""
    timeout_s: float | None = None
    moderation: str | None = None
    """low: use `moderation.low_threshold`; None: auto."""
    source: PictureSource | None = None
    """The picture to draw from. The prompt may be empty then, and the default size is the picture's."""
    regions: tuple[Region, ...] = ()
    """Parts with prompts of their own, from the lowest layer to the highest."""
    loras: tuple[LoraUse, ...] = ()
    controls: tuple[ControlUse, ...] = ()
    references: tuple[ReferenceUse, ...] = ()
    finish: Finish = NO_FINISH
    hires: Hires | None = None
    restyle: Restyle | None = None
    draws: bool = True
    """False: the input picture alone is restyled and finished, without a prompt and without a model."""
    engine_versions: Mapping[str, str] = field(default_factory=dict)
    """Engine versions selected by the site for this request (`serve.releases.rollouts`), by engine; never by
    callers."""

    def __post_init__(self) -> None:
        _check_text(self.prompt, "prompt")
        _check_text(self.negative_prompt, "negative_prompt")
        if not self.prompt.strip() and self.source is None:
            raise InvalidRequest("must not be empty", "prompt")
        if not self.draws and (self.source is None or not (self.finish or self.restyle)):
            raise InvalidRequest("names nothing to do: send image, and upscale or another way to finish it", "image")
        if len(self.regions) > MAX_REGIONS:
            raise InvalidRequest(f"has {len(self.regions)} regions; at most {MAX_REGIONS} are allowed", "regions")
        for i, region in enumerate(self.regions):
            _check_text(region.prompt, f"{field_of(region, i)}.prompt")
            _check_text(region.negative_prompt, f"{field_of(region, i)}.negative_prompt")
        for name, whole in RANGES.items():
            check_whole(getattr(self, name), name, *whole)
        for name, scale in SCALES.items():
            check_number(getattr(self, name), name, *scale)
        if self.candidates > 1 and self.n * self.candidates > MAX_DRAWN:
            raise InvalidRequest(f"at most {MAX_DRAWN} are drawn for all pictures of a request", "candidates")
        if self.moderation not in (None, "auto", "low"):
            raise InvalidRequest("must be auto or low", "moderation")
        check_loras(self.loras)
        check_uses(self.controls, "controls")
        check_uses(self.references, "references")
        if len({use.name for use in self.all_loras}) > 2 * MAX_LORAS:
            raise InvalidRequest(f"at most {2 * MAX_LORAS} LoRAs fit a drawing and its regions", "loras")
        regional = sum(len(region.references) for region in self.regions)
        if len(self.references) + regional > 2 * MAX_PICTURES_EACH:
            raise InvalidRequest(f"at most {2 * MAX_PICTURES_EACH} fit a drawing and its regions", "references")
        for i, region in enumerate(self.regions):
            at = field_of(region, i)
            if len(self.loras) + len(region.loras) > MAX_LORAS:
                raise InvalidRequest(f"and those of the drawing are more than {MAX_LORAS}", f"{at}.loras")
            if {use.name for use in self.loras} & {use.name for use in region.loras}:
                raise InvalidRequest("names a LoRA of the drawing, which acts there already", f"{at}.loras")
            if len(self.references) + len(region.references) > MAX_PICTURES_EACH:
                raise InvalidRequest(f"and those of the drawing are more than {MAX_PICTURES_EACH}", f"{at}.references")

    @property
    def all_loras(self) -> Sequence[LoraUse]:
        """Those of the drawing and of its regions."""
        return [*self.loras, *(lora for region in self.regions for lora in region.loras)]

    def with_loras(self, found: Callable[[LoraUse, str], LoraUse]) -> IllustrateOptions:
        """With what ``found`` makes of each LoRA and its field."""
        regions = tuple(
            replace(one, loras=tuple(found(lora, f"{field_of(one, i)}.loras") for lora in one.loras))
            for i, one in enumerate(self.regions)
        )
        own = tuple(found(lora, lora.client_field or "loras") for lora in self.loras)
        return replace(self, loras=own, regions=regions)

    @property
    def prompts(self) -> Sequence[str]:
        """All texts that are drawn."""
        return [self.prompt, *(region.prompt for region in self.regions)]

    @property
    def input_pictures(self) -> Sequence[InputPicture]:
        """The pictures that it needs, with their contents unless it is a stored request."""
        own = [] if self.source is None else self.source.pictures
        regional = [picture for region in self.regions for picture in region.pictures]
        shown = pictures_of([*self.controls, *self.references])
        styles = [] if self.restyle is None else self.restyle.pictures
        return [*own, *regional, *shown, *styles]

    def with_inputs(self, data: Mapping[str, bytes]) -> IllustrateOptions:
        """With the contents of ``input_pictures``, by their names."""
        source = None if self.source is None else self.source.with_data(data)
        regions = tuple(region.with_data(data) for region in self.regions)
        controls = tuple(loaded(use, data) for use in self.controls)
        references = tuple(loaded(use, data) for use in self.references)
        restyle = None if self.restyle is None else self.restyle.with_data(data)
        return replace(self, source=source, regions=regions, controls=controls, references=references, restyle=restyle)

    def resolve_seed(self) -> int:
        """The seed, or a random one."""
        if self.seed is None or self.seed == RANDOM_SEED:
            return secrets.randbelow(RANDOM_SEEDS)
        return self.seed


def no_illustrator_error() -> NotFound:
    return NotFound(f"there is no illustration model here; {HOW_TO_BUILD}", "model")


def _check_text(text: str, name: str) -> None:
    if not isinstance(text, str):
        raise InvalidRequest("must be text", name)
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise InvalidRequest(f"has {len(text)} characters, more than the {MAX_PROMPT_CHARACTERS} allowed", name)


def check_whole(value: int | None, name: str, low: int, high: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"must be a whole number from {low} to {high}", name)
    if not low <= value <= high:
        raise InvalidRequest(f"must be from {low} to {high}", name)


def steps_and_guidance(
    options: IllustrateOptions, usual: tuple[int, float], few_steps: int | None
) -> tuple[int, float]:
    """The number of steps and the guidance scale of a drawing; ``usual``: those of its family.

    ``few_steps``, where the family was taught long steps, are the default of what is drawn from words alone: guidance,
    a negative prompt and a part of the way from a picture need its usual ones. As many named steps are long ones, too.
    """
    steps, guidance = options.num_inference_steps, options.guidance_scale
    if steps is None:
        negative = options.negative_prompt or any(region.negative_prompt for region in options.regions)
        plain = guidance is None and not negative and options.source is None
        steps = few_steps if few_steps is not None and plain else usual[0]
    if guidance is None:
        guidance = NO_GUIDANCE if steps == few_steps else usual[1]
    return steps, guidance


@dataclass(frozen=True, eq=False)
class Picture:
    """``pixels``: shape (height, width, 3), 8-bit sRGB, or (height, width, 4) with straight alpha from a family that
    draws on transparent ground. ``seed`` with n = 1 reproduces it."""

    pixels: Pixels
    seed: int
    fit: float | None = None
    """How well it fits the prompt, from 0 to 1, where it was chosen among candidates."""


@dataclass(frozen=True)
class Parameters:
    """The complete parameters of a picture."""

    prompt: str
    negative_prompt: str
    model: str
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    guidance_rescale: float
    sampler: str
    seed: int
    source: Mapping[str, Any] | None = None
    """The input picture and how it was used (`PictureSource.to_json`)."""
    regions: Sequence[Mapping[str, Any]] | None = None
    """`Region.to_json` of each."""
    loras: Sequence[Mapping[str, Any]] | None = None
    """`LoraUse.to_json` of each."""
    controls: Sequence[Mapping[str, Any]] | None = None
    references: Sequence[Mapping[str, Any]] | None = None
    hires: Mapping[str, Any] | None = None
    """The second pass (`Hires.to_json`)."""
    restyle: Mapping[str, Any] | None = None
    """In which styles it was painted (`Restyle.to_json`)."""
    finish: Mapping[str, Any] | None = None
    """What was done to the drawing (`Finish.to_json`)."""

    def to_json(self) -> dict[str, Any]:
        """Without what a drawing from its prompt alone does not have."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if name not in _OPTIONAL or value is not None}


@dataclass(frozen=True, eq=False)
class Illustration:
    """Pictures with their parameters and measurements."""

    pictures: Sequence[Picture]
    parameters: Parameters
    """Parameters of the first picture."""
    tokens: int
    """Number of tokens of the prompt."""
    negative_tokens: int
    evaluations: int
    """UNet evaluations per picture."""
    model_versions: Mapping[str, str]
    timings_s: Mapping[str, float]
    processing_time_s: float
    served_by: str = ILLUSTRATE
    """The server: the Illustrator, or a fallback such as ``fallback:openai:NAME``."""
    moderation: Mapping[str, Any] | None = None
    """Result of moderation (`serve.security.moderation.prompt_filter`); None: not moderated."""
    cost: Mapping[str, float] = field(default_factory=dict)
    """Cost (`serve.observability.costs`); empty: not measured."""
