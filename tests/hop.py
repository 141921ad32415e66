"""An Illustrator behind turns, as a replica has it, across a hop that carries what is left of the time. No Ray."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from serve.ensembles.illustrator.illustration import (
    NO_PROGRESS,
    Checkpoint,
    IllustrateOptions,
    Illustration,
    StreamItem,
    StreamOptions,
)
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.observability import request_context
from serve.security.limits.admission_queue import AdmissionQueue
from serve.settings import IllustratorSettings
from tests.ensembles.drawn_family import engines, write_family
from tests.fakes import FakeEngines

STEP_S = 0.05
STEPS = 400
"""Of what is asked for: nobody waits for its end."""


class CountedEngines(FakeEngines):
    """A step takes STEP_S. ``steps`` were asked for."""

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
    """What it does not say itself, the Illustrator says. ``order`` has the seed of each drawing that got its turn."""

    def __init__(self, folder: Path, at_once: int = 1, waiting: int = 4) -> None:
        write_family(folder)
        self.engines = CountedEngines()
        self.turns = AdmissionQueue(at_once, waiting)
        self.order: list[int | None] = []
        settings = IllustratorSettings(model_repository=folder)
        self._illustrator = Illustrator(settings, engines=self.engines)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._illustrator, name)

    async def draw(self, options: IllustrateOptions) -> Illustration:
        with request_context.use(crossed()):
            async with self.turns.slot():
                self.order.append(options.seed)
                return await self._illustrator.draw(options)

    async def stream(
        self, options: IllustrateOptions, follow: StreamOptions = NO_PROGRESS, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[StreamItem]:
        request_context.set_current(crossed())
        stream = self._illustrator.stream(options, follow, resume)
        async with self.turns.slot(), contextlib.aclosing(stream) as items:
            self.order.append(options.seed)
            async for item in items:
                yield item

    async def begun(self) -> None:
        """Until something is being drawn."""
        before = self.engines.steps
        async with asyncio.timeout(20):
            while self.engines.steps < before + 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def stands_still(self) -> bool:
        """Whether at most the step that was under way is the last."""
        begun = self.engines.steps
        await asyncio.sleep(6 * STEP_S)
        return self.engines.steps <= begun + 1


def crossed() -> request_context.RequestContext:
    """What is current, as a replica has it."""
    asked = request_context.current()
    return request_context.from_urgency((asked.left_s(3600.0), asked.priority))
