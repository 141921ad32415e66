"""`ModeratedIllustrator`: an Illustrator with the site's moderation policy for prompts, pictures and previews."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from serve.engines.service import InferenceClient
from serve.ensembles.illustrator.encoding import opaque
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration, Picture, Pixels
from serve.ensembles.illustrator.service import (
    NO_PROGRESS,
    Checkpoint,
    IllustratorService,
    Preview,
    StreamItem,
    StreamOptions,
)
from serve.errors import AtelierError, EngineFailure, PictureNotClassified
from serve.observability.metrics.catalogue import MODERATION
from serve.security.moderation.prompt_filter import (
    LOW,
    REFUSE,
    Finding,
    PromptFilter,
    blocked_error,
    count_findings,
    findings_above_threshold,
    moderation_details,
)
from serve.settings import ModerationSettings

BLUR_CELLS = 12
"""Along the longer side: smaller detail is lost for good and cannot be restored by sharpening."""


def blur(pixels: Pixels) -> Pixels:
    """Of the same shape, (height, width, 3 or 4): cell means with soft edges; colours and layout remain."""
    image = Image.fromarray(pixels)
    cell = max(1.0, max(image.size) / BLUR_CELLS)
    small = image.resize([max(1, round(side / cell)) for side in image.size], Image.Resampling.BOX)
    soft = small.resize(image.size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(cell / 2))
    return np.asarray(soft)


LOGGER = logging.getLogger(__name__)

FLAG, BLUR = "flag", "blur"


class ModerationPolicy:
    """``client`` runs the safety engine. Raises InvalidRequest for invalid rules."""

    def __init__(self, settings: ModerationSettings, client: InferenceClient) -> None:
        self._settings = settings
        self._prompt_filter = PromptFilter(settings)
        self._classifier: PictureClassifier | None = None
        if settings.engine is not None and settings.policy != "off":
            arguments = (settings.engine, settings.categories, settings.side_px, settings.timeout_s)
            self._classifier = PictureClassifier(client, *arguments)

    async def check(self, options: IllustrateOptions) -> list[Finding]:
        """Findings in the prompts. Raises ModerationBlocked where these are refused."""
        found = [await self._prompt_filter.check(prompt, options.moderation) for prompt in options.prompts]
        return [finding for findings in found for finding in findings]

    async def moderate(
        self, illustration: Illustration, options: IllustrateOptions, prompt_findings: Sequence[Finding]
    ) -> Illustration:
        """Raises ModerationBlocked where findings are refused, PictureNotClassified when the engine does not answer."""
        policy, low = self._settings.policy, options.moderation == LOW
        pictures = await asyncio.gather(
            *(self._classify(one.pixels, i, low) for i, one in enumerate(illustration.pictures))
        )
        all_findings = [*prompt_findings, *(finding for found in pictures for finding in found or ())]
        count_findings(all_findings, policy)
        if unchecked := any(found is None for found in pictures):
            MODERATION.add(1, "unchecked", self._settings.on_failure)
        if all_findings and policy == REFUSE:
            raise blocked_error(all_findings)
        if unchecked and self._settings.on_failure == REFUSE:
            raise PictureNotClassified("the safety engine does not answer; try again")
        kept_pictures = illustration.pictures
        if all_findings and policy == BLUR:
            to_blur = [bool(prompt_findings or found) for found in pictures]
            kept_pictures = [
                await _blur_picture(one) if must_blur else one
                for one, must_blur in zip(kept_pictures, to_blur, strict=True)
            ]
        return replace(
            illustration, pictures=kept_pictures, moderation=moderation_details(all_findings, policy, unchecked)
        )

    async def moderate_preview(
        self, preview: Preview, options: IllustrateOptions, prompt_findings: Sequence[Finding]
    ) -> Preview | None:
        """None: the preview must not be shown."""
        policy = self._settings.policy
        if policy == FLAG:
            return preview
        found: Sequence[Finding] | None = prompt_findings
        if not prompt_findings:
            found = await self._classify(preview.pixels, preview.index, options.moderation == LOW)
        if found is None:
            return preview if self._settings.on_failure == "allow" else None
        if not found:
            return preview
        return None if policy == REFUSE else replace(preview, pixels=await asyncio.to_thread(blur, preview.pixels))

    async def _classify(self, pixels: Pixels, index: int, low: bool) -> list[Finding] | None:
        """None: the engine did not answer."""
        if self._classifier is None:
            return []
        try:
            return findings_above_threshold(self._settings, await self._classifier.scores(opaque(pixels)), low, index)
        except AtelierError as error:
            LOGGER.warning("a picture was not checked: %s", error)
            return None


async def _blur_picture(picture: Picture) -> Picture:
    return replace(picture, pixels=await asyncio.to_thread(blur, picture.pixels))


AnyIllustrator = TypeVar("AnyIllustrator", bound=IllustratorService)


def moderated(illustrator: AnyIllustrator, settings: ModerationSettings) -> AnyIllustrator:
    """``illustrator`` under the site's policy; its engine client also runs the safety engine.

    Raises InvalidRequest for invalid rules.
    """
    return (
        illustrator if settings.policy == "off" else cast(AnyIllustrator, ModeratedIllustrator(illustrator, settings))
    )


def required_engines(settings: ModerationSettings) -> tuple[str, ...]:
    """Engines that an Illustrator has to serve besides its families."""
    return () if settings.policy == "off" or settings.engine is None else (settings.engine,)


class ModeratedIllustrator:
    """Delegates everything else to ``illustrator``."""

    def __init__(self, illustrator: IllustratorService, settings: ModerationSettings) -> None:
        self._illustrator = illustrator
        self._policy = ModerationPolicy(settings, illustrator)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._illustrator, name)

    async def draw(self, options: IllustrateOptions) -> Illustration:
        """Also raises ModerationBlocked, and EngineUnavailable when the safety engine does not answer."""
        found = await self._policy.check(options)
        return await self._policy.moderate(await self._illustrator.draw(options), options, found)

    async def stream(
        self, options: IllustrateOptions, follow: StreamOptions = NO_PROGRESS, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[StreamItem]:
        """Objectionable previews are blurred or omitted."""
        found = await self._policy.check(options)
        async with contextlib.aclosing(self._illustrator.stream(options, follow, resume)) as items:
            async for item in items:
                if isinstance(item, Illustration):
                    yield await self._policy.moderate(item, options, found)
                elif not isinstance(item, Preview):
                    yield item
                elif (moderate_preview := await self._policy.moderate_preview(item, options, found)) is not None:
                    yield moderate_preview


INPUT, OUTPUT = "image", "scores"
_ROUNDING_TOLERANCE = 1e-3
"""Allowed rounding beyond the range."""


class PictureClassifier:
    """Scores of a picture by a safety engine.

    Its contract: input ``image``, FP32 [n, 3, side, side], RGB from 0 to 1 (further preprocessing is part of the
    model), of the whole picture, whatever its shape; output ``scores``, FP32 [n, categories], each from 0 to 1, in the
    order of `moderation.categories`. One picture per call: Triton batches concurrent calls.
    """

    def __init__(
        self, client: InferenceClient, engine: str, categories: Sequence[str], side_px: int, timeout_s: float
    ) -> None:
        self._client = client
        self._engine = engine
        self._categories = categories
        self._side_px = side_px
        self._timeout_s = timeout_s

    async def scores(self, pixels: Pixels) -> dict[str, float]:
        """By category. Raises the errors of the client, and EngineFailure for an invalid output."""
        image = await asyncio.to_thread(to_input, pixels, self._side_px)
        outputs = await self._client.infer(self._engine, {INPUT: image}, outputs=[OUTPUT], timeout_s=self._timeout_s)
        scores = outputs.get(OUTPUT)
        if scores is None or scores.shape != (1, len(self._categories)):
            raise EngineFailure(f"engine '{self._engine}' gave no usable '{OUTPUT}'")
        row = scores[0].astype(np.float64)
        if not ((row >= -_ROUNDING_TOLERANCE) & (row <= 1 + _ROUNDING_TOLERANCE)).all():  # also rejects NaN
            raise EngineFailure(f"engine '{self._engine}' gave scores that are not from 0 to 1")
        return dict(zip(self._categories, row.clip(0, 1).tolist(), strict=True))


def to_input(pixels: Pixels, side_px: int) -> npt.NDArray[np.float32]:
    """Shape (1, 3, side, side), from (height, width, 3)."""
    image = Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255)
