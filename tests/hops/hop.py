"""An Illustrator behind an admission queue, as in a replica, behind a hop that carries the remaining time. No Ray."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.service import NO_PROGRESS, Checkpoint, StreamItem, StreamOptions
from serve.observability import request_context
from serve.security.limits.admission_queue import AdmissionQueue
from serve.settings import IllustratorSettings
from tests.ensembles.drawn_family import engines, write_family
from tests.fakes import FakeEngines

STEP_S = 0.05
STEPS = 400
"""More steps than any test waits for."""
FEW_STEPS = 100
"""Fewer than any drawing has that a test leaves."""


class CountedEngines(FakeEngines):
    """A step takes STEP_S. ``steps`` counts them."""

    def __init__(self) -> None:
        super().__init__(engines().answers)
        self.steps = 0

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, NDArray[Any]]:
        if engine.endswith("unet"):
            self.steps += 1
            await asyncio.sleep(STEP_S)
        return await super().infer(engine, inputs, outputs=outputs, timeout_s=timeout_s, version=version)


class Hop:
    """Other attributes are those of the Illustrator. ``order`` has the seeds of the drawings in the order of their
    slots."""

    def __init__(self, folder: Path, at_once: int = 1, waiting: int = 4) -> None:
        write_family(folder)
        self.engines = CountedEngines()
        self.queue = AdmissionQueue(at_once, waiting)
        self.order: list[int | None] = []
        settings = IllustratorSettings(model_repository=folder)
        self._illustrator = Illustrator(settings, engines=self.engines)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._illustrator, name)

    async def draw(self, options: IllustrateOptions) -> Illustration:
        with request_context.use(received_context()):
            async with self.queue.slot():
                self.order.append(options.seed)
                return await self._illustrator.draw(options)

    async def stream(
        self, options: IllustrateOptions, follow: StreamOptions = NO_PROGRESS, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[StreamItem]:
        request_context.set_current(received_context())
        stream = self._illustrator.stream(options, follow, resume)
        async with self.queue.slot(), contextlib.aclosing(stream) as items:
            self.order.append(options.seed)
            async for item in items:
                yield item

    async def begun(self) -> None:
        """Waits until a drawing has started."""
        before = self.engines.steps
        async with asyncio.timeout(60):
            while self.engines.steps < before + 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def stands_still(self) -> bool:
        """Waits until no step starts any more; whether that was long before the drawing's last."""
        begun = -1
        while begun != self.engines.steps:
            begun = self.engines.steps
            await asyncio.sleep(6 * STEP_S)
        return begun < FEW_STEPS


def received_context() -> request_context.RequestContext:
    """The current request context, as a replica receives it."""
    context = request_context.current()
    return request_context.from_urgency((context.left_s(3600.0), context.priority))
