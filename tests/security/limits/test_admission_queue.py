"""The admission queue: bounded concurrency behind a bounded queue."""

from __future__ import annotations

import asyncio

import pytest

from serve.errors import DeadlineExceeded, Overloaded
from serve.observability import request_context
from serve.observability.metrics import catalogue
from serve.observability.request_context import Priority, RequestContext
from serve.security.limits.admission_queue import AdmissionQueue


async def test_request_beyond_the_queue_is_refused() -> None:
    admission, order = AdmissionQueue(max_concurrency=1, max_queued=1), []
    end = asyncio.Event()

    async def work(name: str) -> None:
        async with admission.slot():
            order.append(name)
            await end.wait()

    first, second = asyncio.create_task(work("first")), asyncio.create_task(work("second"))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await work("third")
    assert order == ["first"]
    end.set()
    await asyncio.gather(first, second)
    assert order == ["first", "second"]


async def test_cancelled_request_leaves_the_queue() -> None:
    admission = AdmissionQueue(max_concurrency=1, max_queued=1)
    async with admission.slot():
        waiting = asyncio.create_task(admission.slot().__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        waiting = asyncio.create_task(admission.slot().__aenter__())  # there is a free place again
        await asyncio.sleep(0)
    await asyncio.wait_for(waiting, 60)


class NamedRequests:
    """Enters the admission queue by name; ``order`` lists the names in the order of admission."""

    def __init__(self, admission: AdmissionQueue) -> None:
        self.admission = admission
        self.order: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}

    async def enter(
        self, name: str, priority: Priority = Priority.NORMAL, left_s: float | None = None
    ) -> asyncio.Task[None]:
        async def work() -> None:
            with request_context.use(RequestContext(priority=priority).with_timeout(left_s)):
                async with self.admission.slot():
                    self.order.append(name)
                    await self.ends[name].wait()

        self.ends[name] = asyncio.Event()
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        return task

    async def finish(self, count: int) -> None:
        """Finishes the current work and that of the next ``count`` requests."""
        for _ in range(count):
            self.ends[self.order[-1]].set()
            await asyncio.sleep(0.01)


async def test_high_priority_goes_first_and_every_fourth_slot_to_the_oldest() -> None:
    queue = NamedRequests(AdmissionQueue(max_concurrency=1, max_queued=100))
    await queue.enter("working")
    await queue.enter("low a", Priority.LOW)
    await queue.enter("low b", Priority.LOW)
    await queue.enter("normal")
    for i in range(8):
        await queue.enter(f"high {i}", Priority.HIGH)
    await queue.finish(8)
    expected = ["high 0", "high 1", "high 2", "low a", "high 3", "high 4", "high 5", "low b"]
    assert queue.order[1:] == expected
    await queue.finish(3)
    assert queue.order[9:] == ["high 6", "high 7", "normal"]


async def test_low_priority_is_not_starved() -> None:
    """A low-priority request waits for at most four slots per request queued before it."""
    queue = NamedRequests(AdmissionQueue(max_concurrency=1, max_queued=100))
    await queue.enter("working")
    for i in range(5):
        await queue.enter(f"low {i}", Priority.LOW)
    for i in range(20):
        await queue.enter(f"high {i}", Priority.HIGH)
        await queue.finish(1)
    assert [name for name in queue.order if name.startswith("low")] == [f"low {i}" for i in range(5)]


async def test_full_queue_sheds_the_newest_of_the_lowest_priority() -> None:
    queue = NamedRequests(AdmissionQueue(max_concurrency=1, max_queued=3))
    await queue.enter("working")
    oldest, low, normal = [
        await queue.enter(name, priority)
        for name, priority in (("oldest", Priority.LOW), ("low", Priority.LOW), ("normal", Priority.NORMAL))
    ]
    with pytest.raises(Overloaded):
        await (await queue.enter("another low", Priority.LOW))
    await queue.enter("first", Priority.HIGH)
    with pytest.raises(Overloaded):
        await low
    await queue.enter("second", Priority.HIGH)
    with pytest.raises(Overloaded):
        await normal
    with pytest.raises(Overloaded):  # no request is displaced any more: the oldest stays, whatever its priority
        await (await queue.enter("third", Priority.HIGH))
    await queue.finish(3)
    assert queue.order == ["working", "first", "second", "oldest"]
    assert not oldest.done()


async def test_request_past_its_deadline_is_refused_and_never_started() -> None:
    queue = NamedRequests(AdmissionQueue(max_concurrency=1, max_queued=2))
    await queue.enter("working")
    late = await queue.enter("late", left_s=0.05)
    await queue.enter("patient")
    with pytest.raises(DeadlineExceeded):
        await late
    assert queue.admission.queued == 1
    await queue.finish(1)
    assert queue.order == ["working", "patient"]
    with pytest.raises(DeadlineExceeded):
        await (await queue.enter("too late", left_s=0.0))


async def test_slot_granted_to_a_cancelled_request_is_passed_on() -> None:
    """A cancelled request passes its slot on."""
    queue = NamedRequests(AdmissionQueue(max_concurrency=1, max_queued=10))
    for round_ in range(20):
        await queue.enter(f"working {round_}")
        cancelled = await queue.enter(f"leaving {round_}")
        queue.ends[f"working {round_}"].set()
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        await asyncio.sleep(0.001)
    last = await queue.enter("last")
    queue.ends["last"].set()
    await asyncio.wait_for(last, 60)


async def test_retry_after_follows_the_time_per_request() -> None:
    admission = AdmissionQueue(max_concurrency=1, max_queued=1)
    with pytest.MonkeyPatch.context() as patch:
        now = 0.0
        patch.setattr("serve.security.limits.admission_queue.time.monotonic", lambda: now)
        for took_s in (20.0, 20.0):
            async with admission.slot():
                now += took_s
        queue = NamedRequests(admission)
        await queue.enter("working")
        await queue.enter("waiting")
        with pytest.raises(Overloaded) as refused:
            await (await queue.enter("too many"))
    assert refused.value.retry_after_s == 40
    fresh = NamedRequests(AdmissionQueue(max_concurrency=1, max_queued=1))
    await fresh.enter("working")
    await fresh.enter("waiting")
    with pytest.raises(Overloaded) as refused:
        await (await fresh.enter("too many"))
    assert refused.value.retry_after_s == 1


async def test_waits_without_a_slot_are_measured() -> None:
    """While the running request hangs and no slot becomes free."""
    admission, ensemble = AdmissionQueue(1, 2, "hanging"), "hanging"

    async def wait(left_s: float | None, priority: Priority = Priority.LOW) -> type[Exception] | None:
        with request_context.use(RequestContext(priority=priority).with_timeout(left_s)):
            try:
                async with admission.slot():
                    return None
            except (DeadlineExceeded, Overloaded) as error:
                return type(error)

    async with admission.slot():
        before = catalogue.QUEUE_SECONDS.count(ensemble)
        assert catalogue.OLDEST_WAITING.value(ensemble) == 0
        late, displaced = asyncio.create_task(wait(0.2)), asyncio.create_task(wait(None))
        await asyncio.sleep(0.05)
        urgent = asyncio.create_task(wait(0.05, Priority.HIGH))
        assert await displaced is Overloaded
        assert 0.05 <= catalogue.OLDEST_WAITING.value(ensemble) < 0.2, "it grows by itself"
        assert [
            sample.value > 0 for sample in catalogue.OLDEST_WAITING.samples() if "hanging" in sample.labels.values()
        ]
        assert await urgent is DeadlineExceeded
        assert await late is DeadlineExceeded
        assert catalogue.QUEUE_SECONDS.count(ensemble) == before + 3
        assert catalogue.QUEUE_SECONDS.sum(ensemble) >= 0.3
        assert catalogue.OLDEST_WAITING.value(ensemble) == 0
