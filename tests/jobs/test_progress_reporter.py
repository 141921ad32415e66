"""`ProgressReporter`: a lost lease raises LeaseLost once, whenever it is detected."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from serve.ensembles.illustrator.service import Checkpoint, Preview
from serve.jobs.worker.claims import ClaimedJob
from serve.jobs.worker.leases import LeaseLost, Leases
from serve.jobs.worker.progress import ProgressReporter

CHECKPOINT = Checkpoint(step=1, index=0, data=b"")


class LostLeases:
    """A report waits until ``let`` is set, and then finds that the lease is lost."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.over = False

    async def report(self, *arguments: Any) -> None:
        self.started.set()
        try:
            await self.release.wait()
        finally:
            self.over = True
        raise LeaseLost


def reporter(leases: LostLeases) -> ProgressReporter:
    async def show(preview: Preview) -> str:
        raise AssertionError("nothing is shown here")

    return ProgressReporter(cast(ClaimedJob, None), cast(Leases, leases), 0.0, show)


async def report_and_wait(leases: LostLeases) -> None:
    async with reporter(leases) as progress:
        progress.add(CHECKPOINT)
        await asyncio.sleep(60)


async def report_and_leave(leases: LostLeases) -> None:
    """Leaves the block while a report is being written; the response arrives while the block waits for it."""
    async with reporter(leases) as progress:
        progress.add(CHECKPOINT)
        await leases.started.wait()
        asyncio.get_running_loop().call_later(0.05, leases.release.set)


def cancellations() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def test_lost_lease_ends_the_block_without_a_pending_cancellation() -> None:
    leases = LostLeases()
    leases.release.set()
    with pytest.raises(LeaseLost):
        await report_and_wait(leases)
    assert not cancellations()


async def test_lease_lost_on_exit_raises_lease_lost() -> None:
    with pytest.raises(LeaseLost):
        await report_and_leave(LostLeases())
    assert not cancellations()


async def test_no_report_after_a_block_cancelled_on_exit() -> None:
    leases = LostLeases()

    async def leaves_slowly() -> None:
        async with reporter(leases) as progress:
            progress.add(CHECKPOINT)
            await leases.started.wait()

    leaving = asyncio.create_task(leaves_slowly())
    await leases.started.wait()
    await asyncio.sleep(0.05)  # it waits for the write by now
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert leases.over
