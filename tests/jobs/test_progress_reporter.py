"""`ProgressReporter`: a lease that is lost is told once, by LeaseLost, whenever it is found out."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from serve.ensembles.illustrator.illustration import Checkpoint, Preview
from serve.jobs.worker.claims import ClaimedJob
from serve.jobs.worker.leases import LeaseLost, Leases
from serve.jobs.worker.progress import ProgressReporter

NEWS = Checkpoint(step=1, index=0, data=b"")


class LostLeases:
    """Finds the job to be somebody else's, once it is let."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.let = asyncio.Event()
        self.over = False

    async def report(self, *told: Any) -> None:
        self.asked.set()
        try:
            await self.let.wait()
        finally:
            self.over = True
        raise LeaseLost


def reporter(leases: LostLeases) -> ProgressReporter:
    async def show(preview: Preview) -> str:
        raise AssertionError("nothing is shown here")

    return ProgressReporter(cast(ClaimedJob, None), cast(Leases, leases), 0.0, show)


async def waits(leases: LostLeases) -> None:
    async with reporter(leases) as telling:
        telling.add(NEWS)
        await asyncio.sleep(60)


async def leaves(leases: LostLeases) -> None:
    """While a report is being written, whose answer comes when the block already waits for it."""
    async with reporter(leases) as telling:
        telling.add(NEWS)
        await leases.asked.wait()
        asyncio.get_running_loop().call_later(0.05, leases.let.set)


def cancellations() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def test_a_lost_lease_ends_the_block_and_leaves_no_cancellation() -> None:
    leases = LostLeases()
    leases.let.set()
    with pytest.raises(LeaseLost):
        await waits(leases)
    assert not cancellations()


async def test_one_that_is_lost_while_the_block_is_left_is_told_as_well() -> None:
    with pytest.raises(LeaseLost):
        await leaves(LostLeases())
    assert not cancellations()


async def test_nothing_is_reported_after_a_block_that_was_cancelled_while_it_was_left() -> None:
    leases = LostLeases()

    async def leaves_slowly() -> None:
        async with reporter(leases) as telling:
            telling.add(NEWS)
            await leases.asked.wait()

    leaving = asyncio.create_task(leaves_slowly())
    await leases.asked.wait()
    await asyncio.sleep(0.05)  # it waits for the writing by now
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert leases.over
