"""`ProgressReporter`: how far a job is, written down as often as that is worth it.

What comes while something is being written joins the next writing, and only the newest of each counts. So drawing never
waits for a database, and one that is away for a while is told the newest afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any

from serve.ensembles.illustrator.illustration import Checkpoint, Preview, Progress
from serve.errors import OutOfSpace, StateUnavailable
from serve.jobs.worker.leases import Claimed, LeaseLost, Leases
from serve.observability.costs import CostAccumulator

LOGGER = logging.getLogger(__name__)

Report = Progress | Checkpoint | Preview


class ProgressReporter:
    """Of one job under way. ``show`` keeps a preview and names it; ``pause_s`` lies between two reports.

    Leaving the block raises LeaseLost when the job was found to be somebody else's; the block is cancelled then.
    """

    def __init__(self, job: Claimed, leases: Leases, pause_s: float, show: Callable[[Preview], Awaitable[str]]) -> None:
        self._job = job
        self._leases = leases
        self._pause_s = pause_s
        self._show = show
        self._new = asyncio.Event()
        self._writing = asyncio.Lock()
        self._progress = 0.0
        self._stage: dict[str, Any] = {}
        self._checkpoints: dict[int, tuple[int, bytes]] = {}
        self._preview: Preview | None = None
        self._spent = CostAccumulator()
        self._cost: Mapping[str, float] = {}

    def take(self, report: Report) -> None:
        if isinstance(report, Progress):
            self._progress = report.step / max(1, report.steps)
            self._cost = self._spent.now(report.cost)
            self._stage |= {"step": report.step, "steps": report.steps}
        elif isinstance(report, Checkpoint):
            self._checkpoints[report.index] = (report.step, report.data)
        else:
            self._preview = report
        self._new.set()

    def spent(self, cost: Mapping[str, float]) -> dict[str, float]:
        """By this attempt, with what whoever drew at last had spent in all."""
        return self._spent.now(cost)

    @property
    def last_stage(self) -> dict[str, Any]:
        """Where the job stands once every step is made."""
        return {**self._stage, "step": self._stage["steps"]} if "steps" in self._stage else self._stage

    async def __aenter__(self) -> ProgressReporter:
        self._worker = asyncio.current_task()
        self._task = asyncio.create_task(self._write())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        worker, self._worker = self._worker, None  # which is told of a lost lease here, and not cancelled any more
        try:
            async with self._writing:  # what is being written is written to its end
                pass
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        lost = not self._task.cancelled() and isinstance(self._task.exception(), LeaseLost)
        if lost:
            if isinstance(error, asyncio.CancelledError) and worker is not None:
                worker.uncancel()
            raise LeaseLost from None

    async def _write(self) -> None:
        while True:
            await self._new.wait()
            self._new.clear()
            began = time.monotonic()
            try:
                async with self._writing:
                    await self._report()
            except (StateUnavailable, OutOfSpace):
                self._new.set()  # again, after the pause
                await asyncio.sleep(1.0)
            except LeaseLost:
                if self._worker is not None:
                    self._worker.cancel()
                raise
            except Exception:
                LOGGER.exception("job %s could not be reported on, and goes on", self._job.id)
            await asyncio.sleep(max(0.0, self._pause_s - (time.monotonic() - began)))

    async def _report(self) -> None:
        preview, self._preview = self._preview, None
        if preview is not None:
            self._stage["preview"] = await self._show(preview)
        kept, self._checkpoints = self._checkpoints, {}
        event = "preview" if preview is not None else "progress"
        try:
            await self._leases.report(self._job, event, self._stage, self._progress, kept, self._cost)
        except (StateUnavailable, OutOfSpace):
            self._checkpoints = kept | self._checkpoints
            raise
