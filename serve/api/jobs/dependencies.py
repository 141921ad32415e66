"""Dependencies of the queue's routes: the services of the process, and checked ids of jobs and batches."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from serve.api.http.ownership import check_own
from serve.errors import NotFound, StateUnavailable
from serve.jobs.queue.events import EventFollower
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.views import JobViews
from serve.state import State

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


class JobServices:
    """For one event loop; the application's, as ``app.state.jobs``."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.queue = GenerationQueue(state)
        self.views = JobViews(state.database)
        self.follower = EventFollower(state)


async def services_of(connection: HTTPConnection) -> JobServices:
    """Of a request or a WebSocket. Raises StateUnavailable as long as there is no state."""
    services: JobServices | None = getattr(connection.app.state, "jobs", None)
    if services is None:
        raise StateUnavailable("the database is not open; try again")
    return services


async def job_id_of(job_id: str, connection: HTTPConnection) -> str:
    """Raises NotFound, also for another user's job."""
    await check_own(connection, "job", [checked_id(job_id, "job")])
    return job_id


async def batch_id_of(batch_id: str, connection: HTTPConnection) -> str:
    await check_own(connection, "batch", [checked_id(batch_id, "batch")])
    return batch_id


def checked_id(object_id: str, what: str) -> str:
    """``object_id`` if it has the form of an id. Raises NotFound before the database is queried."""
    if not _ID.fullmatch(object_id):
        raise NotFound(f"there is no such {what}", "id")
    return object_id


JobServicesOf = Annotated[JobServices, Depends(services_of)]
JobId = Annotated[str, Depends(job_id_of)]
BatchId = Annotated[str, Depends(batch_id_of)]
