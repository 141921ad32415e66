"""What goes into the Illustrator and what comes out: plain, frozen, picklable values, light to import."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serve.diffusion.noise import MAX_SEED
from serve.engines.service import EngineService
from serve.ensembles.ranges import check_number
from serve.errors import InvalidRequest, NotFound

ILLUSTRATE = "illustrate"
"""The Illustrator, as answers tell who served them."""
MAX_PICTURES = 10
MAX_PROMPT_CHARACTERS = 32_000
MAX_SIDE_PX = 4096
MAX_STEPS = 1000
MAX_GUIDANCE = 50.0
RANDOM_SEED = -1
"""What many clients send for "any seed"."""
RANDOM_SEEDS = 2**32
"""Seeds that nobody named are below: short enough to note down."""
HOW_TO_BUILD = "build one with `python -m build_engines illustrate --source DIR_OR_HUB_ID --name NAME`"

RANGES: Mapping[str, tuple[int, int]] = {
    "width": (1, MAX_SIDE_PX),
    "height": (1, MAX_SIDE_PX),
    "num_inference_steps": (1, MAX_STEPS),
    "seed": (RANDOM_SEED, MAX_SEED),
    "n": (1, MAX_PICTURES),
    "preview_every": (0, MAX_STEPS),
}
"""Of the whole numbers that a caller may ask for."""
SCALES: Mapping[str, tuple[float, float]] = {
    "guidance_scale": (0.0, MAX_GUIDANCE),
    "guidance_rescale": (0.0, 1.0),
    "timeout_s": (0.001, 3600.0),
}

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class IllustrateOptions:
    """What a caller may ask for; None is the family's own default.

    Raises ``InvalidRequest`` with the field's name when a value is out of range. What only the family knows (its sizes,
    its samplers) is checked by the Illustrator.
    """

    prompt: str
    negative_prompt: str = ""
    model: str | None = None
    """The family; None is the site's first."""
    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    guidance_rescale: float = 0.0
    sampler: str | None = None
    seed: int | None = None
    """Of the first picture; those that follow have ``seed + i``. None or -1: one is drawn, and told."""
    n: int = 1
    preview_every: int = 0
    """A preview after every so many steps of a picture; 0 is none."""
    timeout_s: float | None = None
    moderation: str | None = None
    """low: only what is surer is found (`moderation.low_threshold`); None is auto."""
    engine_versions: Mapping[str, str] = field(default_factory=dict)
    """By engine, where the site chose one for this request (`serve.releases.rollouts`); no caller names them."""

    def __post_init__(self) -> None:
        _check_text(self.prompt, "prompt")
        _check_text(self.negative_prompt, "negative_prompt")
        if not self.prompt.strip():
            raise InvalidRequest("must not be empty", "prompt")
        for name, whole in RANGES.items():
            _check_whole(getattr(self, name), name, *whole)
        for name, scale in SCALES.items():
            check_number(getattr(self, name), name, *scale)
        if self.moderation not in (None, "auto", "low"):
            raise InvalidRequest("must be auto or low", "moderation")

    def resolve_seed(self) -> int:
        """The seed, or one that is drawn."""
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


def _check_whole(value: int | None, name: str, low: int, high: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"must be a whole number from {low} to {high}", name)
    if not low <= value <= high:
        raise InvalidRequest(f"must be from {low} to {high}", name)


@dataclass(frozen=True, eq=False)
class Picture:
    """``pixels``: shape (height, width, 3), 8-bit sRGB. ``seed`` alone, with n = 1, gives it again."""

    pixels: Pixels
    seed: int


@dataclass(frozen=True)
class Parameters:
    """What a picture was made with, nothing left open."""

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


@dataclass(frozen=True, eq=False)
class Illustration:
    """Pictures and how they came about."""

    pictures: Sequence[Picture]
    parameters: Parameters
    """Of the first picture."""
    tokens: int
    """Tokens of the prompt, all of which were used."""
    negative_tokens: int
    evaluations: int
    """How often the UNet was asked for each picture."""
    model_versions: Mapping[str, str]
    timings_s: Mapping[str, float]
    processing_time_s: float
    served_by: str = ILLUSTRATE
    """Or who stood in, such as ``fallback:openai:NAME`` (A-100)."""
    moderation: Mapping[str, Any] | None = None
    """What was found and done, as `serve.security.moderation.verdicts` tells it; None: nobody looked."""
    cost: Mapping[str, float] = field(default_factory=dict)
    """As `serve.observability.costs` has it; empty: nobody measured."""


@dataclass(frozen=True, eq=False)
class Preview:
    """Picture ``index`` as the model sees it after ``step`` of ``steps``; ``pixels`` may be smaller than it."""

    index: int
    step: int
    steps: int
    pixels: Pixels


@dataclass(frozen=True)
class StreamOptions:
    """What a stream tells besides pictures: by default nothing."""

    checkpoint_every: int = 0
    """A checkpoint after every so many evaluations of a picture, and after its last; 0 is none."""
    progress_s: float = 0.0
    """Shortest time between two reports of progress; 0 is none at all."""

    def __post_init__(self) -> None:
        _check_whole(self.checkpoint_every, "checkpoint_every", 0, MAX_STEPS)
        check_number(self.progress_s, "progress_s", 0.0, 3600.0)


NO_PROGRESS = StreamOptions()


@dataclass(frozen=True)
class Progress:
    """``step`` of ``steps`` evaluations are made, over all pictures of the request; also those before a checkpoint.

    ``cost`` is what who draws has spent by then, as `serve.observability.costs` has it.
    """

    step: int
    steps: int
    cost: Mapping[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that picture ``index`` needs to go on after ``step`` evaluations, here or elsewhere.

    ``data`` is for `serve.ensembles.illustrator.checkpoints` alone.
    """

    index: int
    step: int
    data: bytes


StreamItem = Preview | Progress | Checkpoint | Illustration
"""What a stream yields."""


@dataclass(frozen=True)
class FamilyInfo:
    """What a caller may choose of one family."""

    name: str
    architecture: str
    width: int
    height: int
    multiple_of_px: int
    min_px: int
    max_px: int
    num_inference_steps: int
    guidance_scale: float
    sampler: str
    samplers: Sequence[str]
    few_step: bool
    version: str
    created: int
    """Seconds since the epoch."""

    def nearest(self, side_px: int) -> int:
        """The side nearest to ``side_px`` that the family draws."""
        step = self.multiple_of_px
        low, high = -(-self.min_px // step) * step, self.max_px // step * step
        return min(high, max(low, round(side_px / step) * step))

    def nearest_size(self, width_px: int, height_px: int) -> tuple[int, int]:
        """(width, height) that the family draws: of the same shape as far as its limits let it."""
        scale = min(1.0, self.max_px / max(width_px, height_px))
        scale = max(scale, self.min_px / min(width_px, height_px))
        return self.nearest(round(width_px * scale)), self.nearest(round(height_px * scale))


class IllustratorService(EngineService, Protocol):
    """What the doors need: the Illustrator itself, or the same across a Ray hop."""

    async def draw(self, options: IllustrateOptions) -> Illustration: ...
    def stream(
        self, options: IllustrateOptions, follow: StreamOptions = NO_PROGRESS, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[StreamItem]:
        """Previews, and what ``follow`` asks for, as they come, and the Illustration last.

        Steps within a picture rise. A slow reader misses previews, progress but the newest, and of each picture
        checkpoints but the newest. Pictures go on from their checkpoint in ``resume``, and come out as if they had
        never stopped; one that does not fit (other options, another seed, other engines, damage) is not used. Closing
        it ends the drawing.
        """
        ...

    async def families(self) -> Sequence[FamilyInfo]:
        """The first is the one that a request gets which names none; none: nothing can be drawn here."""
        ...
