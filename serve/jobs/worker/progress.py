"""`ProgressReporter`: writes a job's progress at a bounded rate.

Reports that arrive during a write are merged into the next one, and only the newest of each kind counts. Drawing never
waits for the database, and after an outage the newest state is written.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any

from serve.ensembles.illustrator.service import Checkpoint, Preview, Progress
from serve.errors import OutOfSpace, StateUnavailable
from serve.jobs.worker.claims import ClaimedJob
from serve.jobs.worker.leases import LeaseLost, Leases
from serve.observability.costs import CostAccumulator

LOGGER = logging.getLogger(__name__)

Report = Progress | Checkpoint | Preview


class ProgressReporter:
    """Of one running job. ``store_preview`` stores a preview and returns its name; ``pause_s`` is the minimum time
    between writes.

    On leaving, the block raises LeaseLost if the job was given to another worker; the block is cancelled then.
    """

    def __init__(
        self, job: ClaimedJob, leases: Leases, pause_s: float, store_preview: Callable[[Preview], Awaitable[str]]
    ) -> None:
        self._job = job
        self._leases = leases
        self._pause_s = pause_s
        self._store_preview = store_preview
        self._has_news = asyncio.Event()
        self._write_lock = asyncio.Lock()
        self._progress = 0.0
        self._stage: dict[str, Any] = {}
        self._checkpoints: dict[int, tuple[int, bytes]] = {}
        self._preview: Preview | None = None
        self._cost_meter = CostAccumulator()
        self._cost: Mapping[str, float] = {}

    def add(self, report: Report) -> None:
        if isinstance(report, Progress):
            self._progress = report.step / max(1, report.steps)
            self._cost = self._cost_meter.now(report.cost)
            self._stage |= {"step": report.step, "steps": report.steps}
        elif isinstance(report, Checkpoint):
            self._checkpoints[report.index] = (report.step, report.data)
        else:
            self._preview = report
        self._has_news.set()

    def total_cost(self, cost: Mapping[str, float]) -> dict[str, float]:
        """The cost of this attempt, given the total of the Illustrator that drew last."""
        return self._cost_meter.now(cost)

    @property
    def last_stage(self) -> dict[str, Any]:
        """The stage after the last step."""
        return {**self._stage, "step": self._stage["steps"]} if "steps" in self._stage else self._stage

    async def __aenter__(self) -> ProgressReporter:
        self._worker = asyncio.current_task()
        self._task = asyncio.create_task(self._write_loop())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        worker, self._worker = self._worker, None  # a lost lease is reported below, without cancelling
        try:
            async with self._write_lock:  # a write in progress completes
                pass
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        lost = not self._task.cancelled() and isinstance(self._task.exception(), LeaseLost)
        if lost:
            if isinstance(error, asyncio.CancelledError) and worker is not None:
                worker.uncancel()
            raise LeaseLost from None

    async def _write_loop(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            started = time.monotonic()
            try:
                async with self._write_lock:
                    await self._report()
            except (StateUnavailable, OutOfSpace):
                self._has_news.set()  # retried after the pause
                await asyncio.sleep(1.0)
            except LeaseLost:
                if self._worker is not None:
                    self._worker.cancel()
                raise
            except Exception:
                LOGGER.exception("progress of job %s could not be written; the job continues", self._job.id)
            await asyncio.sleep(max(0.0, self._pause_s - (time.monotonic() - started)))

    async def _report(self) -> None:
        preview, self._preview = self._preview, None
        if preview is not None:
            self._stage["preview"] = await self._store_preview(preview)
        checkpoints, self._checkpoints = self._checkpoints, {}
        event = "preview" if preview is not None else "progress"
        try:
            await self._leases.report(self._job, event, self._stage, self._progress, checkpoints, self._cost)
        except (StateUnavailable, OutOfSpace):
            self._checkpoints = checkpoints | self._checkpoints
            raise
