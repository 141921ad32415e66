"""Bounded work behind a bounded queue."""

from __future__ import annotations

import asyncio

import pytest

from serve.errors import DeadlineExceeded, Overloaded
from serve.observability import request_context
from serve.observability.metrics import catalogue
from serve.observability.request_context import Priority, RequestContext
from serve.security.limits.admission_queue import AdmissionQueue


async def test_work_takes_turns_and_who_comes_too_late_is_refused() -> None:
    turns, order = AdmissionQueue(max_concurrency=1, max_queued=1), []
    end = asyncio.Event()

    async def work(name: str) -> None:
        async with turns.slot():
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


async def test_who_is_cancelled_leaves_the_queue() -> None:
    turns = AdmissionQueue(max_concurrency=1, max_queued=1)
    async with turns.slot():
        waiting = asyncio.create_task(turns.slot().__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        waiting = asyncio.create_task(turns.slot().__aenter__())  # there is room again
        await asyncio.sleep(0)
    await asyncio.wait_for(waiting, 1)


class Queue:
    """Asks for turns, by name; ``order`` has those that got one."""

    def __init__(self, turns: AdmissionQueue) -> None:
        self.turns = turns
        self.order: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}

    async def ask(
        self, name: str, priority: Priority = Priority.NORMAL, left_s: float | None = None
    ) -> asyncio.Task[None]:
        async def work() -> None:
            with request_context.use(RequestContext(priority=priority).with_timeout(left_s)):
                async with self.turns.slot():
                    self.order.append(name)
                    await self.ends[name].wait()

        self.ends[name] = asyncio.Event()
        asked = asyncio.create_task(work())
        await asyncio.sleep(0)
        return asked

    async def end(self, count: int) -> None:
        """Those that came so far have done their work, and so have the next ``count``."""
        for _ in range(count):
            self.ends[self.order[-1]].set()
            await asyncio.sleep(0.01)


async def test_the_urgent_go_first_and_every_fourth_turn_is_the_oldest_ones() -> None:
    queue = Queue(AdmissionQueue(max_concurrency=1, max_queued=100))
    await queue.ask("working")
    await queue.ask("low a", Priority.LOW)
    await queue.ask("low b", Priority.LOW)
    await queue.ask("normal")
    for i in range(8):
        await queue.ask(f"high {i}", Priority.HIGH)
    await queue.end(8)
    expected = ["high 0", "high 1", "high 2", "low a", "high 3", "high 4", "high 5", "low b"]
    assert queue.order[1:] == expected
    await queue.end(3)
    assert queue.order[9:] == ["high 6", "high 7", "normal"]


async def test_the_low_are_served_under_a_flood_of_the_high() -> None:
    """Each waits for at most four turns for each that was there before it."""
    queue = Queue(AdmissionQueue(max_concurrency=1, max_queued=100))
    await queue.ask("working")
    for i in range(5):
        await queue.ask(f"low {i}", Priority.LOW)
    for i in range(20):
        await queue.ask(f"high {i}", Priority.HIGH)
        await queue.end(1)
    assert [name for name in queue.order if name.startswith("low")] == [f"low {i}" for i in range(5)]


async def test_a_full_queue_sheds_the_last_of_the_least_urgent() -> None:
    queue = Queue(AdmissionQueue(max_concurrency=1, max_queued=3))
    await queue.ask("working")
    oldest, low, normal = [
        await queue.ask(name, priority)
        for name, priority in (("oldest", Priority.LOW), ("low", Priority.LOW), ("normal", Priority.NORMAL))
    ]
    with pytest.raises(Overloaded):
        await (await queue.ask("another low", Priority.LOW))
    await queue.ask("first", Priority.HIGH)
    with pytest.raises(Overloaded):
        await low
    await queue.ask("second", Priority.HIGH)
    with pytest.raises(Overloaded):
        await normal
    with pytest.raises(Overloaded):  # nobody gives way any more: the oldest stays, whatever it is
        await (await queue.ask("third", Priority.HIGH))
    await queue.end(3)
    assert queue.order == ["working", "first", "second", "oldest"]
    assert not oldest.done()


async def test_who_waits_past_its_deadline_is_out_at_once_and_never_begun() -> None:
    queue = Queue(AdmissionQueue(max_concurrency=1, max_queued=2))
    await queue.ask("working")
    late = await queue.ask("late", left_s=0.05)
    await queue.ask("patient")
    with pytest.raises(DeadlineExceeded):
        await late
    assert queue.turns.queued == 1
    await queue.end(1)
    assert queue.order == ["working", "patient"]
    with pytest.raises(DeadlineExceeded):
        await (await queue.ask("too late", left_s=0.0))


async def test_a_turn_that_comes_with_the_end_of_the_time_is_not_lost() -> None:
    """Whoever got it and does not want it any more passes it on."""
    queue = Queue(AdmissionQueue(max_concurrency=1, max_queued=10))
    for round_ in range(20):
        await queue.ask(f"working {round_}")
        leaving = await queue.ask(f"leaving {round_}")
        queue.ends[f"working {round_}"].set()
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await asyncio.sleep(0.001)
    last = await queue.ask("last")
    queue.ends["last"].set()
    await asyncio.wait_for(last, 5)


async def test_when_to_come_again_is_as_long_as_turns_take() -> None:
    turns = AdmissionQueue(max_concurrency=1, max_queued=1)
    with pytest.MonkeyPatch.context() as patch:
        now = 0.0
        patch.setattr("serve.security.limits.admission_queue.time.monotonic", lambda: now)
        for took_s in (20.0, 20.0):
            async with turns.slot():
                now += took_s
        queue = Queue(turns)
        await queue.ask("working")
        await queue.ask("waiting")
        with pytest.raises(Overloaded) as refused:
            await (await queue.ask("too many"))
    assert refused.value.retry_after_s == 40
    fresh = Queue(AdmissionQueue(max_concurrency=1, max_queued=1))
    await fresh.ask("working")
    await fresh.ask("waiting")
    with pytest.raises(Overloaded) as refused:
        await (await fresh.ask("too many"))
    assert refused.value.retry_after_s == 1


async def test_waits_without_a_turn_are_measured() -> None:
    """While the one who works hangs, and nobody's turn ever comes."""
    turns, ensemble = AdmissionQueue(1, 2, "hanging"), "hanging"

    async def wait(left_s: float | None, priority: Priority = Priority.LOW) -> type[Exception] | None:
        with request_context.use(RequestContext(priority=priority).with_timeout(left_s)):
            try:
                async with turns.slot():
                    return None
            except (DeadlineExceeded, Overloaded) as error:
                return type(error)

    async with turns.slot():
        before = catalogue.QUEUE_SECONDS.count(ensemble)
        assert catalogue.OLDEST_WAITING.value(ensemble) == 0
        late, displaced = asyncio.create_task(wait(0.2)), asyncio.create_task(wait(None))
        await asyncio.sleep(0.05)
        hurried = asyncio.create_task(wait(0.05, Priority.HIGH))
        assert await displaced is Overloaded
        assert 0.05 <= catalogue.OLDEST_WAITING.value(ensemble) < 0.2, "it grows by itself"
        assert [
            sample.value > 0 for sample in catalogue.OLDEST_WAITING.samples() if "hanging" in sample.labels.values()
        ]
        assert await hurried is DeadlineExceeded
        assert await late is DeadlineExceeded
        assert catalogue.QUEUE_SECONDS.count(ensemble) == before + 3
        assert catalogue.QUEUE_SECONDS.sum(ensemble) >= 0.3
        assert catalogue.OLDEST_WAITING.value(ensemble) == 0
