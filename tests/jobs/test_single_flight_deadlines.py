"""Requests that share one drawing and have not the same time: nobody is late, or refused, for somebody else's sake."""

from __future__ import annotations

import asyncio

import pytest

from serve.errors import DeadlineExceeded, Overloaded
from serve.jobs.direct.single_flight import SingleFlight
from serve.observability import request_context
from serve.observability.request_context import Priority, RequestContext


async def nobody(_: str) -> bool:
    return False


class Work:
    """Takes ``took_s``, within the time of who began it."""

    def __init__(self, took_s: float) -> None:
        self.took_s = took_s
        self.begun = 0
        self.refuses: Priority | None = None

    async def __call__(self) -> str:
        self.begun += 1
        asked = request_context.current()
        async with request_context.deadline_timeout():
            await asyncio.sleep(self.took_s)
        if asked.priority is self.refuses:
            raise Overloaded("somebody more urgent came")
        return "done"


async def ask(flight: SingleFlight[str], work: Work, asked: RequestContext) -> str:
    with request_context.use(asked):
        return await flight.run("key", "", work, 0.0)


async def outcomes(work: Work, *asked: RequestContext) -> list[str | BaseException]:
    flight = SingleFlight[str](nobody, 0.01)
    return await asyncio.gather(*(ask(flight, work, one) for one in asked), return_exceptions=True)


async def test_who_has_more_time_begins_it_again() -> None:
    work = Work(0.3)
    first, second = await outcomes(work, RequestContext().with_timeout(0.1), RequestContext())
    assert isinstance(first, DeadlineExceeded)
    assert (second, work.begun) == ("done", 2)


async def test_who_has_less_time_leaves_and_the_work_goes_on() -> None:
    work = Work(0.3)
    first, second = await outcomes(work, RequestContext(), RequestContext().with_timeout(0.1))
    assert isinstance(second, DeadlineExceeded)
    assert (first, work.begun) == ("done", 1)


async def test_who_is_more_urgent_is_not_refused_with_who_is_less() -> None:
    work = Work(0.05)
    work.refuses = Priority.LOW
    low, normal = await outcomes(work, RequestContext(priority=Priority.LOW), RequestContext())
    assert isinstance(low, Overloaded)
    assert (normal, work.begun) == ("done", 2)
    work.begun = 0
    both = await outcomes(work, RequestContext(priority=Priority.LOW), RequestContext(priority=Priority.LOW))
    assert [type(one) for one in both] == [Overloaded, Overloaded]
    assert work.begun == 1


async def test_a_deadline_of_nobody_is_no_reason_to_ask_again() -> None:
    work = Work(0.0)

    async def late() -> str:
        work.begun += 1
        raise DeadlineExceeded("the site's own limit")

    flight = SingleFlight[str](nobody, 0.01)
    with pytest.raises(DeadlineExceeded):
        await flight.run("key", "", late, 0.0)
    assert work.begun == 1
