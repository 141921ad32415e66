"""Input and output values of the Illustrator: frozen, picklable, light to import."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serve.diffusion.family import Sizes
from serve.diffusion.noise import MAX_SEED
from serve.engines.service import EngineService
from serve.ensembles.illustrator.picture_source import PictureSource
from serve.ensembles.ranges import check_number
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
    needs a family with a judge."""
    preview_every: int = 0
    """A preview after every this many steps; 0: none."""
    timeout_s: float | None = None
    moderation: str | None = None
    """low: use `moderation.low_threshold`; None: auto."""
    source: PictureSource | None = None
    """The picture to draw from. The prompt may be empty then, and the default size is the picture's."""
    engine_versions: Mapping[str, str] = field(default_factory=dict)
    """Engine versions selected by the site for this request (`serve.releases.rollouts`), by engine; never by
    callers."""

    def __post_init__(self) -> None:
        _check_text(self.prompt, "prompt")
        _check_text(self.negative_prompt, "negative_prompt")
        if not self.prompt.strip() and self.source is None:
            raise InvalidRequest("must not be empty", "prompt")
        for name, whole in RANGES.items():
            _check_whole(getattr(self, name), name, *whole)
        for name, scale in SCALES.items():
            check_number(getattr(self, name), name, *scale)
        if self.candidates > 1 and self.n * self.candidates > MAX_DRAWN:
            raise InvalidRequest(f"at most {MAX_DRAWN} are drawn for all pictures of a request", "candidates")
        if self.moderation not in (None, "auto", "low"):
            raise InvalidRequest("must be auto or low", "moderation")

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


def _check_whole(value: int | None, name: str, low: int, high: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"must be a whole number from {low} to {high}", name)
    if not low <= value <= high:
        raise InvalidRequest(f"must be from {low} to {high}", name)


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

    def to_json(self) -> dict[str, Any]:
        """Without ``source`` where there is none."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if name != "source" or value is not None}


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


@dataclass(frozen=True, eq=False)
class Preview:
    """Picture ``index`` as predicted after ``step`` of ``steps``; ``pixels`` may have a lower resolution."""

    index: int
    step: int
    steps: int
    pixels: Pixels


@dataclass(frozen=True)
class StreamOptions:
    """What a stream reports besides previews and pictures; nothing by default."""

    checkpoint_every: int = 0
    """A checkpoint after every this many evaluations of a picture, and after its last; 0: none."""
    progress_s: float = 0.0
    """Minimum seconds between progress reports; 0: none."""

    def __post_init__(self) -> None:
        _check_whole(self.checkpoint_every, "checkpoint_every", 0, MAX_STEPS)
        check_number(self.progress_s, "progress_s", 0.0, 3600.0)


NO_PROGRESS = StreamOptions()


@dataclass(frozen=True)
class Progress:
    """``step`` of ``steps`` evaluations are done, over all pictures of the request, including those before a
    checkpoint.

    ``cost``: the cost so far (`serve.observability.costs`).
    """

    step: int
    steps: int
    cost: Mapping[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """State from which picture ``index`` can continue after ``step`` evaluations, on any replica.

    ``data`` is opaque; see `serve.ensembles.illustrator.checkpoints`.
    """

    index: int
    step: int
    data: bytes


StreamItem = Preview | Progress | Checkpoint | Illustration
"""Item of a stream."""


@dataclass(frozen=True)
class FamilyInfo:
    """The choices that one family offers."""

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
    alpha: bool = False
    """Whether pictures have a transparent ground."""
    judges: bool = False
    """Whether it can choose among candidates."""

    @property
    def sizes(self) -> Sizes:
        return Sizes(multiple_of=self.multiple_of_px, min_px=self.min_px, max_px=self.max_px)

    def nearest(self, side_px: int) -> int:
        """The supported side nearest to ``side_px``."""
        return self.sizes.nearest_side(side_px)

    def nearest_size(self, width_px: int, height_px: int) -> tuple[int, int]:
        """The supported (width, height) nearest to the given size, keeping its aspect ratio within the limits."""
        return self.sizes.nearest((width_px, height_px))

    def size_for(self, options: IllustrateOptions) -> tuple[int, int]:
        """(width, height) of a drawing of ``options``: those it names, else its picture's, else the family's own."""
        natural = (self.width, self.height) if options.source is None else self.nearest_size(*options.source.size)
        return options.width or natural[0], options.height or natural[1]


class IllustratorService(EngineService, Protocol):
    """The Illustrator, or its proxy across a Ray hop."""

    async def draw(self, options: IllustrateOptions) -> Illustration: ...
    def stream(
        self, options: IllustrateOptions, follow: StreamOptions = NO_PROGRESS, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[StreamItem]:
        """Previews and the items enabled by ``follow`` as they occur, then the Illustration.

        Steps of one picture increase. A slow reader misses previews, all but the newest progress, and all but the
        newest checkpoint per picture. Pictures continue from their checkpoint in ``resume`` with an identical result; a
        checkpoint that does not match (other options, seed or engines, damage) is ignored. Closing the stream cancels
        the drawing.
        """
        ...

    async def families(self) -> Sequence[FamilyInfo]:
        """The families; the first is the default. Empty: no illustration model is installed."""
        ...
