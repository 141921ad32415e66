"""The answers of one gRPC stream: those that take long come as they are ready, the others one after another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from serve.ensembles.progress_stream import PREVIEW_TIMEOUT_S, ProgressOutbox, stream_progress

MAX_BESIDE = 16
"""Requests of one stream that are worked on beside one another; what comes then waits, unread."""

_WAITING = 16
"""Answers that wait for the reader of a stream."""


@dataclass(frozen=True)
class Job:
    """What one message of the stream asks for. ``answers`` are messages, and whether each is the job's last.

    ``beside``: whether the stream goes on to its next message meanwhile.
    """

    answers: AsyncGenerator[tuple[Any, bool]]
    beside: bool


def interleaved(jobs: AsyncIterator[Job]) -> AsyncGenerator[Any]:
    """The messages of every job, each job's in order; closing it ends all of them."""
    return stream_progress(partial(_work, jobs), _WAITING)


async def _work(jobs: AsyncIterator[Job], waiting: ProgressOutbox) -> None:
    places = asyncio.Semaphore(MAX_BESIDE)

    async def aside(job: Job) -> None:
        try:
            await _send(job, waiting)
        finally:
            places.release()

    async with asyncio.TaskGroup() as group:
        async for job in jobs:
            if job.beside:
                await places.acquire()
                group.create_task(aside(job))
            else:
                await _send(job, waiting)


async def _send(job: Job, waiting: ProgressOutbox) -> None:
    async with contextlib.aclosing(job.answers) as answers:
        async for message, last in answers:
            if last:
                await waiting.put(message)
            else:
                await waiting.offer(message, PREVIEW_TIMEOUT_S)
