"""How much one user may have: what is kept of it, and how much of it is done at once.

`jobs.max_queued_per_user` bounds how many of a user's jobs wait (`serve.jobs.queue.fair_order`), and
`serve.jobs.queue.user_concurrency` how many run. Anonymous users, that is all users of a site without keys, have no
quota.
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

_GOOD_S = 10.0
"""How long a count of bytes is good for ..."""
_SOON_S = 1.0
"""(of who has too many: some may be deleted by now)"""
_RARELY = 100
"""... or so many times as long as it took: no user costs more than a hundredth of the time."""
_MOST = 10_000
"""Users whose bytes are remembered."""


def _stored() -> sa.Select[int]:
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


_STORED = _stored()
_RUNNING = (
    sa.select(sa.func.count())
    .select_from(jobs)
    .where(jobs.c.status == PROCESSING, jobs.c.user_id == sa.bindparam("user_id"))
)


class Quotas:
    """For one event loop. Bytes are counted now and then: a user may be some seconds' work over."""

    def __init__(self, database: Database, settings: QuotasSettings) -> None:
        self._database = database
        self._settings = settings
        self._stored: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """By user: bytes, and until when that is good enough, of `monotonic`."""
        self._here: Counter[str] = Counter()

    async def check_storage(self, user_id: str, more: int = 0) -> None:
        """Raises QuotaExceeded when ``user_id`` may keep nothing, or not ``more`` bytes; StateUnavailable."""
        most = self._settings.max_stored_bytes
        if not most or user_id == ANONYMOUS:
            return
        stored = await self.stored_bytes(user_id)
        if stored >= most or stored + more > most:
            told = (
                f"{stored} bytes are kept for this user, and at most {most} may be; delete some results or references"
            )
            raise QuotaExceeded(told)

    async def stored_bytes(self, user_id: str) -> int:
        """Of results and references, as it was a moment ago; each result counts, also one that looks like another."""
        found = self._stored.get(user_id)
        if found is not None and time.monotonic() < found[1]:
            return found[0]
        began = time.monotonic()
        async with self._database.read() as connection:
            stored = int(await connection.scalar(_STORED, {"user_id": user_id}) or 0)
        took_s = time.monotonic() - began
        good_s = _GOOD_S if stored < self._settings.max_stored_bytes else _SOON_S
        self._stored[user_id] = stored, time.monotonic() + max(good_s, _RARELY * took_s)
        self._stored.move_to_end(user_id)
        if len(self._stored) > _MOST:
            self._stored.popitem(last=False)
        return stored

    async def check_running(self, user_id: str) -> None:
        """Raises TooManyJobs when as much of ``user_id`` is in work, here and in the queue, as may be."""
        await self._check(user_id, self._here[user_id] + 1)

    async def _check(self, user_id: str, here: int) -> None:
        """``here``: in this process, with the one that asks."""
        most = self._settings.max_running
        if not most or user_id == ANONYMOUS:
            return
        running = here
        if running <= most:
            async with self._database.read() as connection:
                running += await connection.scalar(_RUNNING, {"user_id": user_id}) or 0
        if running > most:
            told = f"{running - 1} requests of this user are in work, and at most {most} may be; come again later"
            raise TooManyJobs(told)

    @contextlib.asynccontextmanager
    async def working(self, user_id: str) -> AsyncIterator[None]:
        """Around work that is no job. Of those that `check_running` let in at the same moment the last are refused.

        Raises TooManyJobs.
        """
        self._here[user_id] += 1
        try:
            await self._check(user_id, self._here[user_id])
            yield
        finally:
            self._here[user_id] -= 1
            if not self._here[user_id]:
                del self._here[user_id]
