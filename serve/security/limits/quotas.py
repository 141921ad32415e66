"""Per-user quotas: stored bytes, and requests running at once.

`jobs.max_queued_per_user` bounds a user's waiting jobs (`serve.jobs.queue.fair_order`), and `serve.jobs.worker.claims`
the running ones. Anonymous users, that is all users of a site without keys, have no quota.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator

import sqlalchemy as sa

from serve.errors import QuotaExceeded, TooManyJobs
from serve.settings import QuotasSettings
from serve.state.database import Database
from serve.state.job_states import ANONYMOUS, PROCESSING
from serve.state.tables import generations, jobs, results, subject_references

_CACHE_S = 10.0
"""How long a count of bytes is cached ..."""
_CACHE_OVER_QUOTA_S = 1.0
"""(of a user over quota, who may have deleted some)"""
_COST_FACTOR = 100
"""... or so many times as long as the query took: no user costs more than a hundredth of the time."""
_MAX_CACHED_USERS = 10_000


def _stored_bytes_query() -> sa.Select[int]:
    user: sa.BindParameter[str] = sa.bindparam("user_id", type_=sa.Text())
    of_results = (
        sa.select(sa.func.sum(results.c.bytes))
        .join(generations, generations.c.id == results.c.generation_id)
        .where(generations.c.user_id == user)
    )
    r = subject_references.c
    of_references = sa.select(sa.func.sum(r.bytes)).where(r.user_id == user)
    both = [sa.func.coalesce(query.scalar_subquery(), 0) for query in (of_results, of_references)]
    return sa.select(both[0] + both[1])


_STORED = _stored_bytes_query()
_RUNNING = (
    sa.select(sa.func.count())
    .select_from(jobs)
    .where(jobs.c.status == PROCESSING, jobs.c.user_id == sa.bindparam("user_id"))
)


class Quotas:
    """For one event loop. Counts are cached, so a user may exceed the quota by some seconds' work."""

    def __init__(self, database: Database, settings: QuotasSettings) -> None:
        self._database = database
        self._settings = settings
        self._stored: OrderedDict[str, tuple[int, float]] = OrderedDict()
        # By user: bytes, and the `monotonic` time until which they are cached.
        self._running_here: Counter[str] = Counter()

    async def check_storage(self, user_id: str, additional: int = 0) -> None:
        """Raises QuotaExceeded when ``user_id`` may store nothing, or not ``additional`` bytes; StateUnavailable."""
        maximum = self._settings.max_stored_bytes
        if not maximum or user_id == ANONYMOUS:
            return
        stored = await self.stored_bytes(user_id)
        if stored >= maximum or stored + additional > maximum:
            raise QuotaExceeded(
                f"{stored} bytes are kept for this user, and at most {maximum} may be; "
                "delete some results or references"
            )

    async def stored_bytes(self, user_id: str) -> int:
        """Bytes of results and references, recently counted; identical results count each."""
        found = self._stored.get(user_id)
        if found is not None and time.monotonic() < found[1]:
            return found[0]
        started = time.monotonic()
        async with self._database.read() as connection:
            stored = int(await connection.scalar(_STORED, {"user_id": user_id}) or 0)
        duration_s = time.monotonic() - started
        lifetime_s = _CACHE_S if stored < self._settings.max_stored_bytes else _CACHE_OVER_QUOTA_S
        self._stored[user_id] = stored, time.monotonic() + max(lifetime_s, _COST_FACTOR * duration_s)
        self._stored.move_to_end(user_id)
        if len(self._stored) > _MAX_CACHED_USERS:
            self._stored.popitem(last=False)
        return stored

    async def check_running(self, user_id: str) -> None:
        """Raises TooManyJobs when the user's requests and jobs in progress have reached the limit."""
        await self._check(user_id, self._running_here[user_id] + 1)

    async def _check(self, user_id: str, running_here: int) -> None:
        """``running_here``: in this process, including the current one."""
        maximum = self._settings.max_running
        if not maximum or user_id == ANONYMOUS:
            return
        running = running_here
        if running <= maximum:
            async with self._database.read() as connection:
                running += await connection.scalar(_RUNNING, {"user_id": user_id}) or 0
        if running > maximum:
            message = f"{running - 1} requests of this user are in work, and at most {maximum} may be; come again later"
            raise TooManyJobs(message)

    @contextlib.asynccontextmanager
    async def running_request(self, user_id: str) -> AsyncIterator[None]:
        """Context of a synchronous request. Of requests that passed `check_running` at the same moment, the last are
        rejected.

        Raises TooManyJobs.
        """
        self._running_here[user_id] += 1
        try:
            await self._check(user_id, self._running_here[user_id])
            yield
        finally:
            self._running_here[user_id] -= 1
            if not self._running_here[user_id]:
                del self._running_here[user_id]
