"""`IllustratorService`: what the Illustrator offers: its families, drawings, and streams of their progress. The values
are frozen, picklable and light to import."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from serve.diffusion.family import Sizes
from serve.diffusion.samplers import by_name
from serve.engines.service import EngineService
from serve.ensembles.illustrator.adapters import LoraInfo
from serve.ensembles.illustrator.finishing.finish import UpscalerInfo
from serve.ensembles.illustrator.illustration import (
    MAX_STEPS,
    IllustrateOptions,
    Illustration,
    Pixels,
    check_whole,
    steps_and_guidance,
)
from serve.ensembles.ranges import check_number
from serve.errors import InvalidRequest


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
        check_whole(self.checkpoint_every, "checkpoint_every", 0, MAX_STEPS)
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
    takes_loras: bool = False
    controls: tuple[str, ...] = ()
    """Its ControlNets."""
    takes_references: bool = False
    reference_scales: tuple[str, ...] = ()
    """Those of ``style_scale`` and ``content_scale`` that have attention layers here."""
    takes_pictures: bool = True
    """Whether it can draw from pictures."""
    few_steps: int | None = None
    """As many steps are long ones, which the model was taught beside its usual ones: they need no guidance."""
    upscalers: Sequence[UpscalerInfo] = ()
    """Upscaling engines of the site."""
    restyles: bool = False
    """Whether there are engines for style transfer."""

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

    def steps_and_guidance(self, options: IllustrateOptions) -> tuple[int, float]:
        """Those of a drawing of ``options``, see `serve.ensembles.illustrator.illustration`."""
        few_steps = self.few_steps
        if few_steps is not None and not by_name(options.sampler or self.sampler).takes_long_steps:
            few_steps = None
        return steps_and_guidance(options, (self.num_inference_steps, self.guidance_scale), few_steps)

    def offers(self, options: IllustrateOptions) -> bool:
        """Whether it has the sizes and the sampler, and takes the adapters and pictures, that ``options`` name. For
        which families a LoRA is, is known of those that have been found (`serve.jobs.loras`)."""
        referring = options.references or any(region.references for region in options.regions)
        return (
            all(side is None or self.sizes.holds(side) for side in (options.width, options.height))
            and (options.sampler is None or _is_of(options.sampler, self.samplers))
            and (self.takes_loras or not options.all_loras)
            and all(not lora.families or self.name in lora.families for lora in options.all_loras)
            and {control.type for control in options.controls} <= set(self.controls)
            and (self.takes_references or not referring)
            and (self.takes_pictures or options.source is None)
        )


def _is_of(sampler: str, samplers: Sequence[str]) -> bool:
    """True for one that nobody has: that is an error of its own."""
    try:
        return by_name(sampler).name in samplers
    except InvalidRequest:
        return True


def family_of(options: IllustrateOptions, families: Sequence[FamilyInfo]) -> FamilyInfo | None:
    """The family that draws ``options``: the one that they name (None: there is no such family), else the first that
    offers what they ask for, else the first."""
    if options.model is not None:
        return next((family for family in families if family.name == options.model), None)
    return first_that(families, lambda family: family.offers(options))


def first_that(families: Sequence[FamilyInfo], suits: Callable[[FamilyInfo], bool]) -> FamilyInfo | None:
    """The first family that ``suits``, else the first; None: there is none at all."""
    return next(filter(suits, families), next(iter(families), None))


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
        """The families in the order in which they are chosen from (`family_of`). Empty: no illustration model is
        installed."""
        ...

    def chat(self, engine: str, asked: Mapping[str, Any], timeout_s: float) -> AsyncGenerator[str]:
        """Pieces of a language model's answer (`serve.engines.backends.llama`): ``asked`` has ``messages`` and options.

        Closing it ends the answer. Raises EngineFailure, EngineUnavailable, Overloaded, DeadlineExceeded.
        """
        ...

    async def check_lora(self, data: bytes) -> LoraInfo:
        """What a LoRA's file holds. Raises InvalidRequest naming ``file`` if no family here can use it."""
        ...
