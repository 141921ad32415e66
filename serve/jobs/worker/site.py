"""`SiteWorker`: a worker with its webhooks, maintenance tasks and site metrics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta

import sqlalchemy as sa

from serve.ensembles.embedder import embedder_in
from serve.ensembles.illustrator.service import IllustratorService
from serve.ensembles.requests import ILLUSTRATE, VECTORIZE
from serve.ensembles.vectorizer.vectorization import VectorizerService
from serve.errors import AtelierError, EngineUnavailable, StateUnavailable
from serve.jobs.queue.generation_queue import desired_workers
from serve.jobs.webhooks.delivery import WebhookDelivery
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.maintenance import run_due_tasks
from serve.jobs.worker.picture_index import BATCH, index_pictures
from serve.jobs.worker.worker import Worker
from serve.observability.metrics import catalogue
from serve.releases.fallback.illustrator import with_fallback
from serve.settings import Settings
from serve.state import State
from serve.state.database import Database
from serve.state.job_states import ANONYMOUS, PAUSED, PENDING, PROCESSING
from serve.state.tables import UtcTime, jobs, lanes, measurements, utc_now, workers

LOGGER = logging.getLogger(__name__)
MAINTENANCE_EVERY_S = 60.0


class SiteWorker:
    """For one event loop."""

    def __init__(self, state: State, worker: Worker, base_url: str) -> None:
        self._state = state
        self._worker = worker
        self._webhooks = WebhookDelivery(state, lambda: worker.worker_id, base_url)
        self._tasks = [asyncio.create_task(self._webhooks.run()), asyncio.create_task(self._maintenance_loop())]
        self._tasks.append(asyncio.create_task(self._metrics_loop()))
        self._tasks.append(asyncio.create_task(self._index_loop()))

    @classmethod
    async def start(
        cls,
        settings: Settings,
        vectorizer: VectorizerService,
        illustrator: IllustratorService | None,
        base_url: str,
    ) -> SiteWorker:
        """``base_url``: where clients reach the HTTP API.

        Raises StateUnavailable when the database stays unavailable for a while.
        """
        state = await State.open_with_retry(settings)
        try:
            draws = with_fallback(illustrator, state) if illustrator is not None else None
            worker = Worker(state, JobExecutor(state, vectorizer, draws))
            await worker.start()
        except BaseException:
            await state.close()
            raise
        return cls(state, worker, base_url)

    def check(self) -> None:
        """Raises EngineUnavailable when one of its tasks has ended, which never happens normally."""
        if any(task.done() for task in self._tasks) or not self._worker.is_running:
            raise EngineUnavailable("the worker has ended")

    async def desired_workers(self) -> int | None:
        """How many workers the queue can use; None while the database is unavailable."""
        try:
            return await desired_workers(self._state)
        except StateUnavailable:
            return None

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._worker.close()
        await self._state.close()

    async def _metrics_loop(self) -> None:
        while True:
            with contextlib.suppress(AtelierError):  # outages are logged elsewhere
                await update_site_metrics(self._state.database)
            await asyncio.sleep(METRICS_EVERY_S)

    async def _index_loop(self) -> None:
        own = self._state.settings.illustrator
        try:
            embedder = await asyncio.to_thread(embedder_in, own.model_repository, own.search_engines)
        except AtelierError as error:
            LOGGER.error("there is no search by likeness: %s", error)
            return
        while True:
            count = 0
            if embedder is not None:
                try:
                    count = await index_pictures(self._state, embedder)
                except AtelierError as error:
                    LOGGER.debug("the search index waits: %s", error)
                except Exception:
                    LOGGER.exception("indexing failed; it is retried")
            await asyncio.sleep(INDEX_EVERY_S if count < BATCH else INDEX_PAUSE_S)

    async def _maintenance_loop(self) -> None:
        while True:
            try:
                await run_due_tasks(self._state)
            except AtelierError as error:
                LOGGER.warning("maintenance waits: %s", error)
            except Exception:
                LOGGER.exception("a maintenance task failed; it is retried")
            await asyncio.sleep(MAINTENANCE_EVERY_S)


METRICS_EVERY_S = 10.0
INDEX_EVERY_S, INDEX_PAUSE_S = 3.0, 0.2
ACTIVE_USERS_WINDOW = timedelta(hours=1)
_OPEN_STATUSES = (PENDING, PROCESSING, PAUSED)
_MAX_USERS = 100_000

_DEPTHS = (
    sa.select(jobs.c.lane, jobs.c.status, sa.func.count().label("depth"))
    .where(jobs.c.status.in_(_OPEN_STATUSES))
    .group_by(jobs.c.lane, jobs.c.status)
)
_OLDEST = (
    sa.select(jobs.c.lane, sa.func.min(jobs.c.available_at, type_=UtcTime).label("since"))
    .where(
        jobs.c.status == PENDING,
        jobs.c.lane.not_in(sa.select(lanes.c.lane).where(lanes.c.paused)),
        jobs.c.expires_at.is_(None) | (jobs.c.expires_at > sa.bindparam("now", type_=UtcTime)),
    )
    .group_by(jobs.c.lane)
)


async def update_site_metrics(database: Database) -> None:
    """Raises StateUnavailable."""
    m, now = measurements.c, utc_now()
    recent = sa.select(sa.func.count().label("count")).where(
        m.created_at >= now - ACTIVE_USERS_WINDOW, m.user_id != ANONYMOUS
    )
    async with database.read() as connection:
        depths = {(row.lane, row.status): row.depth for row in await connection.execute(_DEPTHS)}
        oldest = {row.lane: row.since for row in await connection.execute(_OLDEST, {"now": now})}
        worker_count = await connection.scalar(sa.select(sa.func.count()).select_from(workers))
        requests_by_user = (await connection.scalars(recent.group_by(m.user_id).limit(_MAX_USERS))).all()
    for lane in (ILLUSTRATE, VECTORIZE):
        for state in _OPEN_STATUSES:
            catalogue.JOBS.set(depths.get((lane, state), 0), lane, state)
        catalogue.OLDEST_JOB.set(max(0.0, (now - oldest.get(lane, now)).total_seconds()), lane)
    catalogue.WORKERS.set(worker_count or 0)
    catalogue.ACTIVE_USERS.set(len(requests_by_user))
    catalogue.USER_REQUESTS.replace(requests_by_user)
