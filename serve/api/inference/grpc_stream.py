"""The answers of one gRPC stream: concurrent jobs send theirs when they are ready, the others run in sequence."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from serve.ensembles.progress_stream import PREVIEW_TIMEOUT_S, ProgressOutbox, stream_progress

MAX_CONCURRENT = 16
"""Concurrent jobs of one stream; above it no further message is read."""

_MAX_UNSENT = 16
"""Answers that wait for a slow client."""


@dataclass(frozen=True)
class Job:
    """The work for one message of the stream. ``answers`` are messages, and whether each is the job's last.

    ``concurrent``: whether the stream's next message is read meanwhile.
    """

    answers: AsyncGenerator[tuple[Any, bool]]
    concurrent: bool


def interleaved(jobs: AsyncIterator[Job]) -> AsyncGenerator[Any]:
    """The messages of every job, each job's in order; closing it ends all of them."""
    return stream_progress(partial(_run, jobs), _MAX_UNSENT)


async def _run(jobs: AsyncIterator[Job], outbox: ProgressOutbox) -> None:
    slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def run_concurrently(job: Job) -> None:
        try:
            await _send(job, outbox)
        finally:
            slots.release()

    async with asyncio.TaskGroup() as group:
        async for job in jobs:
            if job.concurrent:
                await slots.acquire()
                group.create_task(run_concurrently(job))
            else:
                await _send(job, outbox)


async def _send(job: Job, outbox: ProgressOutbox) -> None:
    async with contextlib.aclosing(job.answers) as answers:
        async for message, last in answers:
            if last:
                await outbox.put(message)
            else:
                await outbox.offer(message, PREVIEW_TIMEOUT_S)
