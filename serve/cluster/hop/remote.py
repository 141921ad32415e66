"""Proxies of the Vectorizer and of the Illustrator: calls from a gateway or worker to their replicas."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ray.serve.handle import DeploymentHandle

from serve.cluster.hop.hop_errors import ReplicaLost
from serve.cluster.hop.remote_ensemble import ATTEMPTS, STARTING_MESSAGE, RemoteEnsemble
from serve.cluster.scale_to_zero import IdleState
from serve.ensembles.illustrator.adapters import LoraInfo
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.progress import MAX_WAITING_PREVIEWS, StreamDeduplicator, publish
from serve.ensembles.illustrator.service import NO_PROGRESS, Checkpoint, FamilyInfo, StreamItem, StreamOptions
from serve.ensembles.progress_stream import ProgressOutbox, stream_progress
from serve.ensembles.vectorizer.vectorization import NO_VERSIONS, Analysis, Vectorization, VectorizeOptions
from serve.errors import (
    EngineLost,
    ScaledToZero,
)
from serve.observability import request_context


class RemoteVectorizer(RemoteEnsemble):
    """The ``VectorizerService`` across the hop."""

    def __init__(
        self,
        handle: DeploymentHandle[Any],
        timeout_s: float,
        sleep: IdleState | None = None,
        max_local: int = 0,
        max_frame_bytes: int = 0,
    ) -> None:
        super().__init__("Vectorizer", handle, timeout_s, sleep, max_local, max_frame_bytes)

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        result: Vectorization = await self._call("vectorize", data, options)
        return result

    async def analyze(self, data: bytes, engine_versions: Mapping[str, str] = NO_VERSIONS) -> Analysis:
        result: Analysis = await self._call("analyze", data, engine_versions)
        return result


class RemoteIllustrator(RemoteEnsemble):
    """The ``IllustratorService`` across the hop. Seeds are drawn here, so that a repeated call gives the same
    pictures."""

    def __init__(
        self, handle: DeploymentHandle[Any], timeout_s: float, sleep: IdleState | None = None, max_local: int = 0
    ) -> None:
        super().__init__("Illustrator", handle, timeout_s, sleep, max_local)

    async def draw(self, options: IllustrateOptions) -> Illustration:
        seeded = _seeded(options)
        try:
            async with asyncio.timeout(await self._idle_timeout_s(options)):
                result: Illustration = await self._call("draw", seeded)
        except TimeoutError:
            raise ScaledToZero(STARTING_MESSAGE.format(self._name)) from None
        return result

    async def stream(
        self, options: IllustrateOptions, stream_options: StreamOptions = NO_PROGRESS, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[StreamItem, None]:
        """If a replica dies, another continues from the last checkpoints; no item is repeated."""
        work = partial(self._read, _seeded(options), stream_options, resume)
        async with self._start_if_idle(), contextlib.aclosing(stream_progress(work, MAX_WAITING_PREVIEWS)) as items:
            async for item in items:
                yield item

    async def _read(
        self,
        options: IllustrateOptions,
        stream_options: StreamOptions,
        resume: Sequence[Checkpoint],
        outbox: ProgressOutbox,
    ) -> Illustration | None:
        """Reads at full speed: a slow reader must not block a replica, where others wait for a slot."""
        timeout_s = await self._idle_timeout_s(options) or self._timeout_s
        context = request_context.current().with_timeout(min(self._timeout_s, timeout_s))
        deduplicator, drawn = StreamDeduplicator(resume), None
        for _ in range(ATTEMPTS):
            stream = self._stream(context, "stream", options, stream_options, tuple(deduplicator.checkpoints.values()))
            with contextlib.suppress(ReplicaLost):
                async with contextlib.aclosing(stream) as items:
                    async for item in items:
                        if isinstance(item, Illustration):
                            drawn = item
                        elif deduplicator.is_new(item):
                            await publish(outbox, item)
                return drawn
        raise EngineLost(f"the {self._name} is restarting; try again")

    async def _idle_timeout_s(self, options: IllustrateOptions) -> float | None:
        """A running replica enforces the request's own time limit; while there is none, the caller must."""
        return options.timeout_s if await self._is_idle() else None

    async def families(self) -> Sequence[FamilyInfo]:
        result: Sequence[FamilyInfo] = await self._call_cached("families")
        return result

    async def chat(self, engine: str, asked: Mapping[str, Any], timeout_s: float) -> AsyncGenerator[str]:
        """Not repeated when a replica dies: pieces were read already."""
        context = request_context.current().with_timeout(min(timeout_s, self._timeout_s))
        stream = self._stream(context, "chat", engine, asked, timeout_s)
        try:
            async with self._start_if_idle(), contextlib.aclosing(stream) as items:
                async for item in items:
                    yield item
        except ReplicaLost:
            raise EngineLost(f"the {self._name} is restarting; try again") from None

    async def check_lora(self, data: bytes) -> LoraInfo:
        result: LoraInfo = await self._call("check_lora", data)
        return result


def _seeded(options: IllustrateOptions) -> IllustrateOptions:
    return replace(options, seed=options.resolve_seed())
