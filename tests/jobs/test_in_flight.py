"""One drawing for one request: single flight within a gateway and across gateways, idempotency keys (API_COMPAT 1)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from direct_gateways import ADA, asks, following, gateway, gone, history, is_over, rows, until, wish
from illustrator_standin import Gated, IllustratorStandIn
from jobs_standin import with_settings
from pictures import drawn, encode
from standin import StandIn

from serve.ensembles.requests import IllustrateRequest
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.errors import DeadlineExceeded, EngineFailure, InvalidRequest, KeyReused, Overloaded
from serve.jobs.direct.service import Answer, Caller
from serve.jobs.worker.lease_reaper import LeaseReaper
from serve.settings import Settings
from serve.state import State
from serve.state.tables import generations, idempotency_keys, workers

LATER = Caller("ada", grace_s=3600.0)
"""One who may ask again: nothing ends as long as a test lasts."""
KEYED = Caller("ada", idempotency_key="k1")
EITHER_SEED = pytest.mark.parametrize("request_", [wish(), wish(seed=None)], ids=["seeded", "unseeded"])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@EITHER_SEED
async def test_twenty_at_once_are_one_drawing(state: State, request_: IllustrateRequest) -> None:
    gated = Gated()
    async with gateway(state, gated) as direct:
        asking = [asks(direct, request_) for _ in range(20)]
        await gated.begun.acquire()
        gated.gate.set()
        answers = await asyncio.gather(*asking)
    assert len(gated.asked) == 1
    assert len({answer.generation_id for answer in answers}) == 1
    assert await history(state) == [("ada", "completed", False)]


async def test_twenty_seeds_are_twenty_drawings(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        answers = await asyncio.gather(*(direct.draw(wish(seed=seed), ADA) for seed in range(20)))
    assert sorted(asked.seed or 0 for asked in illustrator.asked) == list(range(20))
    assert len({answer.files[0].data for answer in answers}) == 20
    assert len(await history(state)) == 20


async def test_others_do_not_join(state: State) -> None:
    others = [Caller("ben"), Caller("ada", bypass_cache=True), Caller("ada", bypass_cache=True, store=False), KEYED]
    gated = Gated()
    async with gateway(state, gated) as direct:
        asking = [asks(direct, wish(), caller) for caller in (ADA, *others)]
        for _ in asking:
            await gated.begun.acquire()
        gated.gate.set()
        answers = await asyncio.gather(*asking)
    assert len({answer.generation_id for answer in answers}) == 1 + len(others)
    assert len(await history(state)) == 1 + len(others)


@EITHER_SEED
async def test_another_gateway_joins(state: State, request_: IllustrateRequest) -> None:
    gated, idle = Gated(), IllustratorStandIn()
    async with gateway(state, gated) as one, gateway(state, idle) as two:
        first = asks(one, request_)
        await gated.begun.acquire()
        others = [asks(two, request_) for _ in range(5)]
        await until(lambda: following(state))
        assert await following(state) == 1
        gated.gate.set()
        answer, *joined = await asyncio.gather(first, *others)
    assert idle.asked == []
    assert {found.generation_id for found in joined} == {answer.generation_id}
    assert joined[0].files[0].data == answer.files[0].data
    assert (joined[0].result_ids, joined[0].details) == (answer.result_ids, answer.details)
    assert not joined[0].cached
    assert await history(state) == [("ada", "completed", False)]
    assert await is_over(state)


async def test_conversions_join_too(state: State) -> None:
    """Of other bytes they do not."""
    vectorizer = StandIn()
    logo, other = encode(drawn()), encode(drawn(size=48))
    async with gateway(state, vectorizer=vectorizer) as direct:
        asking = [direct.vectorize(data, VectorizeOptions(), ADA) for data in (logo, logo, other)]
        one, two, three = await asyncio.gather(*asking)
    assert one.generation_id == two.generation_id != three.generation_id


@pytest.mark.parametrize(
    ("failure", "at_the_other"), [(EngineFailure("ill"), 0), (Overloaded("full"), 0), (InvalidRequest("no", "seed"), 1)]
)
async def test_a_failure_is_told_to_who_joined(state: State, failure: Exception, at_the_other: int) -> None:
    """What is the client's own fault nobody writes down: the other gateway finds it out itself."""
    gated, other = Gated(), IllustratorStandIn()
    gated.failure = other.failure = failure
    async with gateway(state, gated) as one, gateway(state, other) as two:
        asking = [asks(one, wish()), asks(one, wish())]
        await gated.begun.acquire()
        asking.append(asks(two, wish()))
        await until(lambda: following(state))
        gated.gate.set()
        for told in await asyncio.gather(*asking, return_exceptions=True):
            assert (type(told), str(told)) == (type(failure), str(failure))
    assert (len(gated.asked), len(other.asked)) == (1, at_the_other)
    assert await is_over(state)


async def test_who_joins_does_not_wait_for_ever(settings: Settings) -> None:
    state = await State.open(with_settings(settings, illustrator={"timeout_s": 0.2}))
    gated = Gated()
    async with gateway(state, gated) as one, gateway(state) as two:
        first = asks(one, wish())
        await gated.begun.acquire()
        with pytest.raises(DeadlineExceeded):
            await two.draw(wish(), ADA)
        assert await following(state) == 0
        gated.gate.set()
        assert not (await first).cached
    await state.close()


@EITHER_SEED
async def test_a_killed_gateway_frees_its_flights(state: State, request_: IllustrateRequest) -> None:
    """Who looks after it sees its beat stand still, and who waits for it draws."""
    dead, clock, alive = Gated(), Clock(), IllustratorStandIn()
    watch = LeaseReaper(state, clock)
    async with gateway(state, dead) as one, gateway(state, alive, watch=watch) as two:
        asks(one, request_, LATER)
        await dead.begun.acquire()
        (killed,) = await rows(state, workers)
        joined = asks(two, request_)
        await until(lambda: following(state))
        await watch.reap()
        clock.now += state.settings.jobs.lease_s
        async with state.database.write() as connection:  # the other one shows that it lives
            beat = sa.update(workers).where(workers.c.id != killed.id).values(beat=workers.c.beat + 1)
            await connection.execute(beat)
        assert await watch.reap() == [killed.id]
        answer = await joined
    assert len(alive.asked) == 1
    assert ("ada", "completed", False) in await history(state)
    assert not answer.cached
    assert await is_over(state)


async def test_a_flight_of_nobody_holds_nobody_up(state: State) -> None:
    """Such as one that was written down just as its gateway was taken for dead."""
    gated = Gated()
    async with gateway(state, gated) as one, gateway(state) as two:
        first = asks(one, wish())
        await gated.begun.acquire()
        async with state.database.write() as connection:
            await connection.execute(sa.delete(workers))
        answer = await two.draw(wish(), ADA)
        assert not answer.cached
        gated.gate.set()
        assert (await first).generation_id != answer.generation_id
    assert await history(state) == [("ada", "completed", False)] * 2
    assert await is_over(state)


async def test_a_gateway_that_was_taken_for_dead_begins_anew(settings: Settings) -> None:
    state = await State.open(with_settings(settings, jobs={"beat_s": 0.02}))
    gated, idle = Gated(), IllustratorStandIn()
    async with gateway(state, gated) as one, gateway(state, idle) as two:
        await one.start()
        await until(lambda: rows(state, workers))
        (before,) = await rows(state, workers)
        async with state.database.write() as connection:
            await connection.execute(sa.delete(workers))
        await until(lambda: rows(state, workers))
        (after,) = await rows(state, workers)
        assert after.id != before.id
        first = asks(one, wish())
        await gated.begun.acquire()
        joined = asks(two, wish())
        await until(lambda: following(state))
        gated.gate.set()
        assert (await first).generation_id == (await joined).generation_id
    assert idle.asked == []
    await state.close()


async def test_a_gateway_that_ends_leaves_nothing_behind(state: State) -> None:
    gated = Gated()
    async with gateway(state, gated) as direct:
        await direct.start()
        asking = [asks(direct, wish(seed=seed), LATER) for seed in range(3)]
        for _ in asking:
            await gated.begun.acquire()
        await gone(asking[0])
    assert all(isinstance(told, Exception) for told in await asyncio.gather(*asking[1:], return_exceptions=True))
    assert await history(state) == [("ada", "cancelled", False)] * 3
    assert await rows(state, workers) == []
    assert await is_over(state)


async def test_who_goes_away_ends_the_drawing(state: State) -> None:
    gated = Gated()
    async with gateway(state, gated) as direct:
        asking = [asks(direct, wish()), asks(direct, wish())]
        await gated.begun.acquire()
        await gone(asking[0])
        assert gated.cancelled == 0
        await gone(asking[1])
        await gated.ended.acquire()
        assert gated.cancelled == 1
        await until(lambda: history(state))
        assert await history(state) == [("ada", "cancelled", False)]
        gated.gate.set()
        assert not (await direct.draw(wish(), ADA)).cached


async def test_who_goes_away_and_asks_again_joins(state: State) -> None:
    """The OpenAI client's repetition, which has no key."""
    gated = Gated()
    async with gateway(state, gated) as direct:
        asking = asks(direct, wish(seed=None), LATER)
        await gated.begun.acquire()
        for _ in range(3):
            await gone(asking)
            asking = asks(direct, wish(seed=None), LATER)
            await asyncio.sleep(0)  # it has joined
        await gone(asking)
        asking = asks(direct, wish(seed=None), LATER)
        gated.gate.set()
        answer = await asking
    assert len(gated.asked) == 1
    assert await history(state) == [("ada", "completed", False)]
    assert not answer.cached


async def test_what_was_done_while_nobody_waited_is_there_for_who_asks_again(state: State) -> None:
    gated = Gated()
    async with gateway(state, gated) as direct:
        asking = asks(direct, wish(seed=None), LATER)
        await gated.begun.acquire()
        await gone(asking)
        gated.gate.set()
        await until(lambda: history(state))
        again = await direct.draw(wish(seed=None), LATER)
        assert len(gated.asked) == 1
        assert (await rows(state, generations))[0].id == again.generation_id
        other = await direct.draw(wish(seed=None), LATER)  # once it has been given, it is nobody's any more
        assert other.generation_id != again.generation_id


async def test_after_a_failure_that_nobody_heard_of_it_is_tried_again(state: State) -> None:
    gated = Gated()
    gated.failure = EngineFailure("ill")
    async with gateway(state, gated) as direct:
        asking = asks(direct, wish(), LATER)
        await gated.begun.acquire()
        await gone(asking)
        gated.gate.set()
        await until(lambda: history(state))
        gated.failure = None
        assert not (await direct.draw(wish(), LATER)).cached


async def test_patience_has_an_end(state: State) -> None:
    gated = Gated()
    async with gateway(state, gated) as direct:
        asking = asks(direct, wish(), replace(LATER, grace_s=0.01))
        await gated.begun.acquire()
        await gone(asking)
        await gated.ended.acquire()
    assert gated.cancelled == 1


async def test_it_goes_on_as_long_as_another_gateway_waits(state: State) -> None:
    gated, idle = Gated(), IllustratorStandIn()
    async with gateway(state, gated) as one, gateway(state, idle) as two:
        first = asks(one, wish())
        await gated.begun.acquire()
        joined = asks(two, wish())
        await until(lambda: following(state))
        await gone(first)
        for _ in range(5):  # it looks several times whether anybody waits
            await asyncio.sleep(state.settings.jobs.poll_s)
        assert gated.cancelled == 0
        gated.gate.set()
        assert (await joined).files
        assert idle.asked == []
    assert await is_over(state)


async def test_it_ends_when_the_other_gateway_waits_no_longer(state: State) -> None:
    gated = Gated()
    async with gateway(state, gated) as one, gateway(state) as two:
        first = asks(one, wish())
        await gated.begun.acquire()
        joined = asks(two, wish())
        await until(lambda: following(state))
        await gone(first, joined)
        await gated.ended.acquire()
        assert gated.cancelled == 1
        await until(lambda: is_over(state))


@EITHER_SEED
async def test_a_key_stands_for_one_drawing(state: State, request_: IllustrateRequest) -> None:
    """While it is drawn and afterwards, here and elsewhere, whatever the cache is told."""
    gated, idle = Gated(), IllustratorStandIn()
    unsaved = replace(KEYED, bypass_cache=True, store=False)
    async with gateway(state, gated) as one, gateway(state, idle) as two:
        asking = [asks(one, request_, KEYED), asks(one, request_, unsaved)]
        await gated.begun.acquire()
        asking.append(asks(two, request_, unsaved))
        await until(lambda: following(state))
        gated.gate.set()
        answers = [*await asyncio.gather(*asking)]
        for direct in (one, two):
            answers.append(await direct.draw(request_, unsaved))
            assert answers[-1].cached
            known = await direct.cached_answer(request_, KEYED)
            assert known is not None
            answers.append(known)
    assert len({answer.generation_id for answer in answers}) == 1
    assert len({tuple(answer.result_ids) for answer in answers}) == 1
    assert (len(gated.asked), idle.asked) == (1, [])
    assert await history(state) == [("ada", "completed", False)]


async def test_a_key_with_another_body_is_refused(state: State) -> None:
    gated = Gated()
    async with gateway(state, gated) as one, gateway(state) as two:
        first = asks(one, wish(), KEYED)
        await gated.begun.acquire()
        for direct in (one, two):
            with pytest.raises(KeyReused):
                await direct.draw(wish(seed=8), KEYED)
        gated.gate.set()
        await first
        await two.draw(wish(seed=8), ADA)
        for direct in (one, two):  # also of what the cache has
            with pytest.raises(KeyReused):
                await direct.draw(wish(seed=8), KEYED)
        with pytest.raises(KeyReused):
            await anext(one.stream(wish(seed=8), KEYED, 0))
        assert (await one.draw(wish(seed=8), replace(KEYED, user_id="ben"))).files
    assert await is_over(state)


async def test_a_key_with_what_the_cache_has_stands_for_that(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        await direct.draw(wish(), ADA)
        first, again = await direct.draw(wish(), KEYED), await direct.draw(wish(), KEYED)
        assert first.generation_id == again.generation_id
        with pytest.raises(KeyReused):
            await direct.draw(wish(seed=8), KEYED)
    assert len(await history(state)) == 2


async def test_a_key_whose_drawing_failed_is_tried_again(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        for failure in (Overloaded("full"), InvalidRequest("no", "seed")):
            illustrator.failure = failure
            with pytest.raises(type(failure)):
                await direct.draw(wish(seed=None), KEYED)
        illustrator.failure = None
        answer = await direct.draw(wish(seed=None), KEYED)
        assert (await direct.draw(wish(seed=None), KEYED)).generation_id == answer.generation_id
    assert await history(state) == [("ada", "failed", False), ("ada", "completed", False)]
    assert [row.target for row in await rows(state, idempotency_keys)] == [answer.generation_id]


async def test_a_stream_joins_by_its_key(state: State) -> None:
    gated = Gated()
    async with gateway(state, gated) as direct:
        first = asks(direct, wish(seed=None), KEYED)
        await gated.begun.acquire()
        streamed = asyncio.create_task(_all(direct.stream(wish(seed=None), KEYED, 1)))
        await until(lambda: following(state))
        gated.gate.set()
        (answer,) = await streamed
        assert isinstance(answer, Answer)
        assert answer.generation_id == (await first).generation_id
        (again,) = await _all(direct.stream(wish(seed=None), KEYED, 1))
        assert again.cached


async def _all(items: Any) -> list[Any]:
    return [item async for item in items]
