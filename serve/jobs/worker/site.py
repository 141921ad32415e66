"""A worker with what belongs to it on a site: the state, webhooks, and the chores that somebody has to do."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from serve.ensembles.illustrator.illustration import IllustratorService
from serve.ensembles.vectorizer.vectorization import VectorizerService
from serve.errors import AtelierError, EngineUnavailable, StateUnavailable
from serve.jobs.queue.demand import workers_wanted
from serve.jobs.webhooks.delivery import WebhookDelivery
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.maintenance import run_due
from serve.jobs.worker.site_metrics import EVERY_S, measure_site
from serve.jobs.worker.worker import Worker
from serve.releases.fallback.site import with_fallback
from serve.settings import Settings
from serve.state import State

LOGGER = logging.getLogger(__name__)
CHORES_EVERY_S = 60.0


class SiteWorker:
    """For one event loop."""

    def __init__(self, state: State, worker: Worker, base_url: str) -> None:
        self._state = state
        self._worker = worker
        self._deliverer = WebhookDelivery(state, lambda: worker.worker_id, base_url)
        self._tasks = [asyncio.create_task(self._deliverer.run()), asyncio.create_task(self._chores())]
        self._tasks.append(asyncio.create_task(self._measure()))

    @classmethod
    async def started(
        cls,
        settings: Settings,
        vectorizer: VectorizerService,
        illustrator: IllustratorService | None,
        base_url: str,
    ) -> SiteWorker:
        """``base_url``: where clients reach the HTTP door.

        Raises StateUnavailable when the database does not answer for a while.
        """
        state = await State.open_patiently(settings)
        try:
            draws = with_fallback(illustrator, state) if illustrator is not None else None
            worker = Worker(state, JobExecutor(state, vectorizer, draws))
            await worker.start()
        except BaseException:
            await state.close()
            raise
        return cls(state, worker, base_url)

    def check(self) -> None:
        """Raises EngineUnavailable when something of it has ended that never should."""
        if any(task.done() for task in self._tasks) or not self._worker.is_running:
            raise EngineUnavailable("the worker has ended")

    async def wanted(self) -> int | None:
        """How many workers the queue could keep busy; None while the database does not say."""
        try:
            return await workers_wanted(self._state)
        except StateUnavailable:
            return None

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._worker.close()
        await self._state.close()

    async def _measure(self) -> None:
        while True:
            with contextlib.suppress(AtelierError):  # it is told that the database is away
                await measure_site(self._state.database)
            await asyncio.sleep(EVERY_S)

    async def _chores(self) -> None:
        while True:
            try:
                await run_due(self._state)
            except AtelierError as error:
                LOGGER.warning("chores wait: %s", error)
            except Exception:
                LOGGER.exception("a chore failed; it is tried again")
            await asyncio.sleep(CHORES_EVERY_S)
