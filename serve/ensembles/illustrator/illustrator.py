"""`Illustrator`: prompt to pictures, every denoising step a request of its own to the UNet's engine.

Triton's batcher merges the steps of whatever pictures are under way, at whatever timesteps; nothing is batched here.
So a request joins at the next step, and one that is cancelled or late is gone at the next step.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from serve.diffusion.family import families_in, parse
from serve.engines.client import EngineClient
from serve.engines.engine_set import EngineSet, EngineSetService
from serve.engines.service import EngineAddress
from serve.ensembles.captioner.captioner import captioning_engines_in
from serve.ensembles.director.llama_chat import chat_pieces
from serve.ensembles.embedder import embedder_in
from serve.ensembles.engine_calls import EngineCalls
from serve.ensembles.illustrator.adapters import LoraInfo, read_lora
from serve.ensembles.illustrator.drawing import Drawing
from serve.ensembles.illustrator.families import available_engines, find_missing_files, read_manifest
from serve.ensembles.illustrator.finishing.finishing import Finishing, finishers_in
from serve.ensembles.illustrator.finishing.post_processing import PostProcessing
from serve.ensembles.illustrator.illustration import (
    HOW_TO_BUILD,
    ILLUSTRATE,
    IllustrateOptions,
    Illustration,
    no_illustrator_error,
)
from serve.ensembles.illustrator.pipeline.adapter_bank import AdapterBank, FetchObject
from serve.ensembles.illustrator.pipeline.bounds import check_engine_inputs
from serve.ensembles.illustrator.pipeline.pipeline import DiffusionPipeline
from serve.ensembles.illustrator.progress import MAX_WAITING_PREVIEWS, pack_item, publish_latest
from serve.ensembles.illustrator.service import (
    NO_PROGRESS,
    Checkpoint,
    FamilyInfo,
    Progress,
    StreamItem,
    StreamOptions,
    family_of,
)
from serve.ensembles.measurements import measured
from serve.ensembles.progress_stream import ProgressOutbox, stream_progress
from serve.ensembles.restyler.optimiser import Optimiser, optimising_engines_in
from serve.ensembles.restyler.restyler import ENCODER, PAINTER, Restyler, style_engines_in
from serve.ensembles.vectorizer.vectorization import NO_VERSIONS
from serve.errors import EngineUnavailable, NotFound, TooLarge
from serve.observability import request_context
from serve.observability.costs import current_cost
from serve.observability.metrics import catalogue
from serve.settings import IllustratorSettings

LOGGER = logging.getLogger(__name__)


class Illustrator(EngineSetService):
    """Composes the engines of all its families; a plain class, for one event loop.

    Without ``engines`` it owns a Triton, unless the settings name an external one. Without any family it starts, and
    drawing raises an error with the command to run. Call `start` first; it raises EngineUnavailable with the reason.
    """

    def __init__(
        self,
        settings: IllustratorSettings,
        engines: EngineClient | None = None,
        others: Sequence[str] = (),
        engine_versions: Mapping[str, str] = NO_VERSIONS,
        fetch: FetchObject | None = None,
        adapters: Path | None = None,
    ) -> None:
        """``others``: engines served besides the families'. ``engine_versions``: initial versions by engine.
        ``fetch`` reads the site's objects, in which its LoRAs are. ``adapters``: the folder of adapters' files of
        ``engines``; its own Triton has one."""
        self._settings = settings
        self._others = tuple(others)
        repository = settings.model_repository
        manifests = {name: read_manifest(repository, name) for name in settings.families or families_in(repository)}
        known = {name: parse(manifest) for name, manifest in manifests.items()}
        owned = engines is None and settings.engines_url is None
        for engine in others if owned else ():
            if not (repository / engine / "config.pbtxt").is_file():
                raise EngineUnavailable(f"there is no engine '{engine}' in {repository.name}/", "moderation.engine")
        self._missing_files = {
            name: gone for name, family in known.items() if (gone := find_missing_files(repository, family, owned))
        }
        for name, gone in self._missing_files.items():
            LOGGER.error("model '%s' is not served: it lacks %s; %s", name, ", ".join(gone), HOW_TO_BUILD)
        families = {name: family for name, family in known.items() if name not in self._missing_files}
        finishers = finishers_in(repository)
        styling = style_engines_in(repository)
        optimising = optimising_engines_in(repository, settings.optimising_engines)
        finishing_engines = [one.name for one in finishers] + ([ENCODER, PAINTER] if styling is not None else [])
        finishing_engines += [] if optimising is None else optimising.names
        finishing_engines += [part for one in captioning_engines_in(repository) for part in (one.picture, one.decoder)]
        super().__init__(
            EngineSet(
                repository,
                [
                    *(engine for one in families.values() for engine in available_engines(repository, one)),
                    *others,
                    *finishing_engines,
                ],
                url=settings.engines_url,
                timeout_s=settings.engine_timeout_s,
                start_timeout_s=settings.engine_start_timeout_s,
                client=engines,
                tritonserver=settings.tritonserver,
                ensemble=ILLUSTRATE,
                gpus=settings.num_gpus,
                current=engine_versions,
            )
        )
        limit_s = settings.engine_timeout_s
        calls = EngineCalls(self.engine_set.client, limit_s)
        restyler = Restyler(styling, calls, Optimiser(optimising, calls))
        self._post_processing = PostProcessing(Finishing(finishers, calls), restyler)
        self._max_finisher_px = {one.name: one.side_px or one.tile_px + 2 * one.overlap_px for one in finishers}
        if styling is not None:
            self._max_finisher_px |= dict.fromkeys((ENCODER, PAINTER), styling.tile_px + 2 * styling.overlap_px)
        if optimising is not None:
            self._max_finisher_px |= dict.fromkeys(optimising.names, optimising.max_side_px)
        ranker = None if settings.ranking_engines is None else embedder_in(repository, settings.ranking_engines)
        self._pipelines = {
            name: DiffusionPipeline(
                family,
                repository,
                self.engine_set.client,
                engine_timeout_s=limit_s,
                ranker=ranker,
                bank=AdapterBank(
                    family,
                    adapters or self.engine_set.adapters,
                    fetch,
                    settings.adapters_max_bytes // len(families),
                ),
            )
            for name, family in families.items()
        }
        created = {name: datetime.fromisoformat(str(manifest["created"])) for name, manifest in manifests.items()}
        self._created = {name: int(created[name].timestamp()) for name in self._pipelines}

    async def start(self) -> None:
        """Raises EngineUnavailable if an engine does not start; everything is closed then."""
        try:
            await self.engine_set.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self.engine_set.close()

    async def families(self) -> Sequence[FamilyInfo]:
        """The families in the order in which they are chosen from (`family_of`)."""
        label = self.engine_set.versions.label
        pipelines, upscalers = self._pipelines.items(), self._post_processing.finishing.upscalers
        restyles = bool(self._post_processing.restyler.names)
        return tuple(
            replace(
                pipeline.info(label(pipeline.family.unet), self._created[name]), upscalers=upscalers, restyles=restyles
            )
            for name, pipeline in pipelines
        )

    async def chat(self, engine: str, asked: Mapping[str, Any], timeout_s: float) -> AsyncGenerator[str]:
        async with contextlib.aclosing(chat_pieces(self.engine_set.client, engine, asked, timeout_s)) as pieces:
            async for piece in pieces:
                yield piece

    async def check_lora(self, data: bytes) -> LoraInfo:
        families = [pipeline.family for pipeline in self._pipelines.values()]
        return await asyncio.to_thread(read_lora, data, families)

    async def draw(self, options: IllustrateOptions) -> Illustration:
        """Draw the pictures of ``options`` concurrently.

        The same options and seed give the same pictures regardless of the load, up to the engines' rounding. Raises
        InvalidRequest, NotFound (unknown family), DeadlineExceeded, Overloaded, EngineUnavailable, EngineFailure.
        Cancelling the call stops before the next step.
        """
        return await self._draw(options, NO_PROGRESS, (), None)

    async def stream(
        self, options: IllustrateOptions, stream_options: StreamOptions = NO_PROGRESS, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[StreamItem]:
        """Stream items, then the Illustration; closing the iterator cancels the drawing."""
        stream = stream_progress(partial(self._draw, options, stream_options, resume), MAX_WAITING_PREVIEWS)
        async with contextlib.aclosing(stream) as items:
            async for item in items:
                yield await pack_item(item)

    def check_inputs(self, engine: str, inputs: Mapping[str, npt.NDArray[Any]]) -> None:
        """Inputs may be no larger than those of the largest picture. Raises InvalidRequest."""
        for pipeline in self._pipelines.values():
            check_engine_inputs(pipeline.family, engine, inputs)
        most = self._max_finisher_px.get(engine)
        for name, array in inputs.items() if most is not None else ():
            if array.ndim > 2 and max(array.shape[1:3]) > (most or 0):
                raise TooLarge(f"has a side of more than {most} px, the longest that '{engine}' takes", name)

    async def engine_address(self) -> EngineAddress | None:
        """Without the families' engines, whose inputs `check_inputs` bounds."""
        address = await super().engine_address()
        if address is None:
            return None
        return replace(address, engines=self._others)

    async def _draw(
        self,
        options: IllustrateOptions,
        stream_options: StreamOptions,
        resume: Sequence[Checkpoint],
        outbox: ProgressOutbox | None,
    ) -> Illustration:
        if not options.draws:
            return await self._process_input(options, stream_options, outbox)
        pipeline = self._pipeline(await self._family_name(options))
        with measured(ILLUSTRATE, pipeline.family.name) as bill:
            async with self.engine_set.versions.using(options.engine_versions) as chosen:
                label = self.engine_set.versions.label
                drawing = Drawing(pipeline, self._post_processing, label, options, stream_options, resume, outbox)
                with pipeline.holding_adapters():
                    drawn = await drawing.draw(self._limit_s(options), chosen)
            catalogue.PICTURES.add(len(drawn.pictures), pipeline.family.name)
            for name, seconds in drawn.timings_s.items():
                catalogue.STAGE_SECONDS.observe(seconds, ILLUSTRATE, name)
            return replace(drawn, cost=bill.to_json())

    async def _process_input(
        self, options: IllustrateOptions, stream_options: StreamOptions, outbox: ProgressOutbox | None
    ) -> Illustration:
        """The input picture, restyled and finished."""
        began = time.perf_counter()

        def report(done: int, total: int) -> None:
            if outbox is not None and stream_options.progress_s:
                publish_latest(outbox, Progress(done, total, current_cost()))

        engines = self._post_processing.engines(options)
        model = engines[0] if engines else options.finish.upscaler or "none"
        with measured(ILLUSTRATE, model) as bill:
            async with self.engine_set.versions.using(options.engine_versions) as chosen:
                deadline = request_context.current().until(self._limit_s(options))
                made = await self._post_processing.process_input(options, model, began, deadline, chosen, report)
            label = self.engine_set.versions.label
            versions = {engine: label(engine, chosen.get(engine, "")) for engine in engines}
            return replace(made, model_versions=versions, cost=bill.to_json())

    def _limit_s(self, options: IllustrateOptions) -> float:
        return min(options.timeout_s or self._settings.timeout_s, self._settings.timeout_s)

    async def _family_name(self, options: IllustrateOptions) -> str | None:
        family = None if options.model is not None else family_of(options, await self.families())
        return options.model if family is None else family.name

    def _pipeline(self, name: str | None) -> DiffusionPipeline:
        wanted = next(iter(self._pipelines or self._missing_files), None) if name is None else name
        if wanted in self._pipelines:
            return self._pipelines[wanted]
        if wanted in self._missing_files:
            what = ", ".join(self._missing_files[wanted])
            raise NotFound(f"model '{wanted}' lacks {what}; {HOW_TO_BUILD}", "model")
        if not self._pipelines:
            raise no_illustrator_error()
        known = ", ".join(self._pipelines)
        raise NotFound(f"there is no model {str(wanted)[:64]!a}; there are: {known}. {HOW_TO_BUILD}", "model")
