"""Requests that share one drawing with different deadlines and priorities: each keeps its own."""

from __future__ import annotations

import asyncio

import pytest

from serve.errors import DeadlineExceeded, Overloaded
from serve.jobs.direct.single_flight import SingleFlight
from serve.observability import request_context
from serve.observability.request_context import Priority, RequestContext


async def has_no_followers(_: str) -> bool:
    return False


class Work:
    """Takes ``took_s``, within the deadline of the request that started it."""

    def __init__(self, took_s: float) -> None:
        self.took_s = took_s
        self.starts = 0
        self.refuses: Priority | None = None

    async def __call__(self) -> str:
        self.starts += 1
        context = request_context.current()
        async with request_context.deadline_timeout():
            await asyncio.sleep(self.took_s)
        if context.priority is self.refuses:
            raise Overloaded("somebody more urgent came")
        return "done"


async def run_flight(flight: SingleFlight[str], work: Work, context: RequestContext) -> str:
    with request_context.use(context):
        return await flight.run("key", "", work, 0.0)


async def outcomes(work: Work, *contexts: RequestContext) -> list[str | BaseException]:
    flight = SingleFlight[str](has_no_followers, 0.01)
    return await asyncio.gather(*(run_flight(flight, work, one) for one in contexts), return_exceptions=True)


async def test_request_with_a_later_deadline_starts_again() -> None:
    work = Work(0.3)
    first, second = await outcomes(work, RequestContext().with_timeout(0.1), RequestContext())
    assert isinstance(first, DeadlineExceeded)
    assert (second, work.starts) == ("done", 2)


async def test_request_with_an_earlier_deadline_leaves_the_work_running() -> None:
    work = Work(0.3)
    first, second = await outcomes(work, RequestContext(), RequestContext().with_timeout(0.1))
    assert isinstance(second, DeadlineExceeded)
    assert (first, work.starts) == ("done", 1)


async def test_higher_priority_is_not_refused_with_a_lower_one() -> None:
    work = Work(0.05)
    work.refuses = Priority.LOW
    low, normal = await outcomes(work, RequestContext(priority=Priority.LOW), RequestContext())
    assert isinstance(low, Overloaded)
    assert (normal, work.starts) == ("done", 2)
    work.starts = 0
    both = await outcomes(work, RequestContext(priority=Priority.LOW), RequestContext(priority=Priority.LOW))
    assert [type(one) for one in both] == [Overloaded, Overloaded]
    assert work.starts == 1


async def test_work_that_raises_deadline_exceeded_is_not_repeated() -> None:
    work = Work(0.0)

    async def late() -> str:
        work.starts += 1
        raise DeadlineExceeded("the site's own limit")

    flight = SingleFlight[str](has_no_followers, 0.01)
    with pytest.raises(DeadlineExceeded):
        await flight.run("key", "", late, 0.0)
    assert work.starts == 1
