"""Single flight within a gateway and across gateways, and idempotency keys (API_COMPAT 1)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from direct_gateways import (
    ADA,
    disconnect,
    follower_count,
    gateway,
    history,
    illustrate_request,
    no_flights_left,
    rows,
    start_drawing,
    until,
)
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

RECONNECTING = Caller("ada", grace_s=3600.0)
"""A caller that may reconnect: its requests outlast the test."""
KEYED = Caller("ada", idempotency_key="k1")
EITHER_SEED = pytest.mark.parametrize(
    "request_", [illustrate_request(), illustrate_request(seed=None)], ids=["seeded", "unseeded"]
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@EITHER_SEED
async def test_concurrent_requests_share_one_drawing(state: State, request_: IllustrateRequest) -> None:
    gated = Gated()
    async with gateway(state, gated) as direct:
        drawings = [start_drawing(direct, request_) for _ in range(20)]
        await gated.begun.acquire()
        gated.gate.set()
        answers = await asyncio.gather(*drawings)
    assert len(gated.asked) == 1
    assert len({answer.generation_id for answer in answers}) == 1
    assert await history(state) == [("ada", "completed", False)]


async def test_different_seeds_are_drawn_separately(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        answers = await asyncio.gather(*(direct.draw(illustrate_request(seed=seed), ADA) for seed in range(20)))
    assert sorted(options.seed or 0 for options in illustrator.asked) == list(range(20))
    assert len({answer.files[0].data for answer in answers}) == 20
    assert len(await history(state)) == 20


async def test_other_callers_do_not_join(state: State) -> None:
    others = [Caller("ben"), Caller("ada", bypass_cache=True), Caller("ada", bypass_cache=True, store=False), KEYED]
    gated = Gated()
    async with gateway(state, gated) as direct:
        drawings = [start_drawing(direct, illustrate_request(), caller) for caller in (ADA, *others)]
        for _ in drawings:
            await gated.begun.acquire()
        gated.gate.set()
        answers = await asyncio.gather(*drawings)
    assert len({answer.generation_id for answer in answers}) == 1 + len(others)
    assert len(await history(state)) == 1 + len(others)


@EITHER_SEED
async def test_request_joins_across_gateways(state: State, request_: IllustrateRequest) -> None:
    gated, idle = Gated(), IllustratorStandIn()
    async with gateway(state, gated) as one, gateway(state, idle) as two:
        first = start_drawing(one, request_)
        await gated.begun.acquire()
        others = [start_drawing(two, request_) for _ in range(5)]
        await until(lambda: follower_count(state))
        assert await follower_count(state) == 1
        gated.gate.set()
        answer, *joined = await asyncio.gather(first, *others)
    assert idle.asked == []
    assert {joined_answer.generation_id for joined_answer in joined} == {answer.generation_id}
    assert joined[0].files[0].data == answer.files[0].data
    assert (joined[0].result_ids, joined[0].details) == (answer.result_ids, answer.details)
    assert not joined[0].cached
    assert await history(state) == [("ada", "completed", False)]
    assert await no_flights_left(state)


async def test_concurrent_conversions_share_one_run(state: State) -> None:
    """Conversions of other bytes do not join."""
    vectorizer = StandIn()
    logo, other = encode(drawn()), encode(drawn(size=48))
    async with gateway(state, vectorizer=vectorizer) as direct:
        drawings = [direct.vectorize(data, VectorizeOptions(), ADA) for data in (logo, logo, other)]
        one, two, three = await asyncio.gather(*drawings)
    assert one.generation_id == two.generation_id != three.generation_id


@pytest.mark.parametrize(
    ("failure", "other_drawings"),
    [(EngineFailure("ill"), 0), (Overloaded("full"), 0), (InvalidRequest("no", "seed"), 1)],
)
async def test_joined_requests_get_the_same_failure(state: State, failure: Exception, other_drawings: int) -> None:
    """Client errors are not stored: the other gateway detects them itself."""
    gated, other = Gated(), IllustratorStandIn()
    gated.failure = other.failure = failure
    async with gateway(state, gated) as one, gateway(state, other) as two:
        drawings = [start_drawing(one, illustrate_request()), start_drawing(one, illustrate_request())]
        await gated.begun.acquire()
        drawings.append(start_drawing(two, illustrate_request()))
        await until(lambda: follower_count(state))
        gated.gate.set()
        for outcome in await asyncio.gather(*drawings, return_exceptions=True):
            assert (type(outcome), str(outcome)) == (type(failure), str(failure))
    assert (len(gated.asked), len(other.asked)) == (1, other_drawings)
    assert await no_flights_left(state)


async def test_joined_request_times_out(settings: Settings) -> None:
    state = await State.open(with_settings(settings, illustrator={"timeout_s": 0.2}))
    gated = Gated()
    async with gateway(state, gated) as one, gateway(state) as two:
        first = start_drawing(one, illustrate_request())
        await gated.begun.acquire()
        with pytest.raises(DeadlineExceeded):
            await two.draw(illustrate_request(), ADA)
        assert await follower_count(state) == 0
        gated.gate.set()
        assert not (await first).cached
    await state.close()


@EITHER_SEED
async def test_flights_of_a_killed_gateway_are_drawn_again(state: State, request_: IllustrateRequest) -> None:
    """The lease reaper sees its heartbeat stand still, and the waiting gateway draws."""
    dead, clock, alive = Gated(), Clock(), IllustratorStandIn()
    watch = LeaseReaper(state, clock)
    async with gateway(state, dead) as one, gateway(state, alive, watch=watch) as two:
        start_drawing(one, request_, RECONNECTING)
        await dead.begun.acquire()
        (killed,) = await rows(state, workers)
        joined = start_drawing(two, request_)
        await until(lambda: follower_count(state))
        await watch.reap()
        clock.now += state.settings.jobs.lease_s
        async with state.database.write() as connection:  # the heartbeat of the other gateway
            beat = sa.update(workers).where(workers.c.id != killed.id).values(beat=workers.c.beat + 1)
            await connection.execute(beat)
        assert await watch.reap() == [killed.id]
        answer = await joined
    assert len(alive.asked) == 1
    assert ("ada", "completed", False) in await history(state)
    assert not answer.cached
    assert await no_flights_left(state)


async def test_orphaned_flight_does_not_block_requests(state: State) -> None:
    """Such as a flight stored just as its gateway was declared dead."""
    gated = Gated()
    async with gateway(state, gated) as one, gateway(state) as two:
        first = start_drawing(one, illustrate_request())
        await gated.begun.acquire()
        async with state.database.write() as connection:
            await connection.execute(sa.delete(workers))
        answer = await two.draw(illustrate_request(), ADA)
        assert not answer.cached
        gated.gate.set()
        assert (await first).generation_id != answer.generation_id
    assert await history(state) == [("ada", "completed", False)] * 2
    assert await no_flights_left(state)


async def test_gateway_declared_dead_registers_again(settings: Settings) -> None:
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
        first = start_drawing(one, illustrate_request())
        await gated.begun.acquire()
        joined = start_drawing(two, illustrate_request())
        await until(lambda: follower_count(state))
        gated.gate.set()
        assert (await first).generation_id == (await joined).generation_id
    assert idle.asked == []
    await state.close()


async def test_closed_gateway_leaves_no_flights(state: State) -> None:
    gated = Gated()
    async with gateway(state, gated) as direct:
        await direct.start()
        drawings = [start_drawing(direct, illustrate_request(seed=seed), RECONNECTING) for seed in range(3)]
        for _ in drawings:
            await gated.begun.acquire()
        await disconnect(drawings[0])
    assert all(
        isinstance(outcome, Exception) for outcome in await asyncio.gather(*drawings[1:], return_exceptions=True)
    )
    assert await history(state) == [("ada", "cancelled", False)] * 3
    assert await rows(state, workers) == []
    assert await no_flights_left(state)


async def test_last_disconnect_cancels_the_drawing(state: State) -> None:
    gated = Gated()
    async with gateway(state, gated) as direct:
        drawings = [start_drawing(direct, illustrate_request()), start_drawing(direct, illustrate_request())]
        await gated.begun.acquire()
        await disconnect(drawings[0])
        assert gated.cancelled == 0
        await disconnect(drawings[1])
        await gated.ended.acquire()
        assert gated.cancelled == 1
        await until(lambda: history(state))
        assert await history(state) == [("ada", "cancelled", False)]
        gated.gate.set()
        assert not (await direct.draw(illustrate_request(), ADA)).cached


async def test_reconnecting_client_joins_its_drawing(state: State) -> None:
    """The OpenAI client's retry, which has no idempotency key."""
    gated = Gated()
    async with gateway(state, gated) as direct:
        drawings = start_drawing(direct, illustrate_request(seed=None), RECONNECTING)
        await gated.begun.acquire()
        for _ in range(3):
            await disconnect(drawings)
            drawings = start_drawing(direct, illustrate_request(seed=None), RECONNECTING)
            await asyncio.sleep(0)  # it has joined
        await disconnect(drawings)
        drawings = start_drawing(direct, illustrate_request(seed=None), RECONNECTING)
        gated.gate.set()
        answer = await drawings
    assert len(gated.asked) == 1
    assert await history(state) == [("ada", "completed", False)]
    assert not answer.cached


async def test_result_finished_while_disconnected_is_delivered_on_retry(state: State) -> None:
    gated = Gated()
    async with gateway(state, gated) as direct:
        drawings = start_drawing(direct, illustrate_request(seed=None), RECONNECTING)
        await gated.begun.acquire()
        await disconnect(drawings)
        gated.gate.set()
        await until(lambda: history(state))
        again = await direct.draw(illustrate_request(seed=None), RECONNECTING)
        assert len(gated.asked) == 1
        assert (await rows(state, generations))[0].id == again.generation_id
        other = await direct.draw(
            illustrate_request(seed=None), RECONNECTING
        )  # a delivered result is not delivered to a second request
        assert other.generation_id != again.generation_id


async def test_unreported_failure_is_retried(state: State) -> None:
    gated = Gated()
    gated.failure = EngineFailure("ill")
    async with gateway(state, gated) as direct:
        drawings = start_drawing(direct, illustrate_request(), RECONNECTING)
        await gated.begun.acquire()
        await disconnect(drawings)
        gated.gate.set()
        await until(lambda: history(state))
        gated.failure = None
        assert not (await direct.draw(illustrate_request(), RECONNECTING)).cached


async def test_drawing_is_cancelled_after_the_grace_period(state: State) -> None:
    gated = Gated()
    async with gateway(state, gated) as direct:
        drawings = start_drawing(direct, illustrate_request(), replace(RECONNECTING, grace_s=0.01))
        await gated.begun.acquire()
        await disconnect(drawings)
        await gated.ended.acquire()
    assert gated.cancelled == 1


async def test_drawing_continues_while_another_gateway_waits(state: State) -> None:
    gated, idle = Gated(), IllustratorStandIn()
    async with gateway(state, gated) as one, gateway(state, idle) as two:
        first = start_drawing(one, illustrate_request())
        await gated.begun.acquire()
        joined = start_drawing(two, illustrate_request())
        await until(lambda: follower_count(state))
        await disconnect(first)
        for _ in range(5):  # several polls for waiting gateways
            await asyncio.sleep(state.settings.jobs.poll_s)
        assert gated.cancelled == 0
        gated.gate.set()
        assert (await joined).files
        assert idle.asked == []
    assert await no_flights_left(state)


async def test_drawing_ends_when_no_gateway_waits(state: State) -> None:
    gated = Gated()
    async with gateway(state, gated) as one, gateway(state) as two:
        first = start_drawing(one, illustrate_request())
        await gated.begun.acquire()
        joined = start_drawing(two, illustrate_request())
        await until(lambda: follower_count(state))
        await disconnect(first, joined)
        await gated.ended.acquire()
        assert gated.cancelled == 1
        await until(lambda: no_flights_left(state))


@EITHER_SEED
async def test_idempotency_key_gives_one_drawing(state: State, request_: IllustrateRequest) -> None:
    """During the drawing and afterwards, on both gateways, whatever the cache options."""
    gated, idle = Gated(), IllustratorStandIn()
    unsaved = replace(KEYED, bypass_cache=True, store=False)
    async with gateway(state, gated) as one, gateway(state, idle) as two:
        drawings = [start_drawing(one, request_, KEYED), start_drawing(one, request_, unsaved)]
        await gated.begun.acquire()
        drawings.append(start_drawing(two, request_, unsaved))
        await until(lambda: follower_count(state))
        gated.gate.set()
        answers = [*await asyncio.gather(*drawings)]
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


async def test_idempotency_key_with_another_body_is_refused(state: State) -> None:
    gated = Gated()
    async with gateway(state, gated) as one, gateway(state) as two:
        first = start_drawing(one, illustrate_request(), KEYED)
        await gated.begun.acquire()
        for direct in (one, two):
            with pytest.raises(KeyReused):
                await direct.draw(illustrate_request(seed=8), KEYED)
        gated.gate.set()
        await first
        await two.draw(illustrate_request(seed=8), ADA)
        for direct in (one, two):  # also for cached results
            with pytest.raises(KeyReused):
                await direct.draw(illustrate_request(seed=8), KEYED)
        with pytest.raises(KeyReused):
            await anext(one.stream(illustrate_request(seed=8), KEYED, 0))
        assert (await one.draw(illustrate_request(seed=8), replace(KEYED, user_id="ben"))).files
    assert await no_flights_left(state)


async def test_idempotency_key_is_bound_to_a_cached_result(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        await direct.draw(illustrate_request(), ADA)
        first, again = await direct.draw(illustrate_request(), KEYED), await direct.draw(illustrate_request(), KEYED)
        assert first.generation_id == again.generation_id
        with pytest.raises(KeyReused):
            await direct.draw(illustrate_request(seed=8), KEYED)
    assert len(await history(state)) == 2


async def test_idempotency_key_of_a_failed_drawing_is_retried(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        for failure in (Overloaded("full"), InvalidRequest("no", "seed")):
            illustrator.failure = failure
            with pytest.raises(type(failure)):
                await direct.draw(illustrate_request(seed=None), KEYED)
        illustrator.failure = None
        answer = await direct.draw(illustrate_request(seed=None), KEYED)
        assert (await direct.draw(illustrate_request(seed=None), KEYED)).generation_id == answer.generation_id
    assert await history(state) == [("ada", "failed", False), ("ada", "completed", False)]
    assert [row.target for row in await rows(state, idempotency_keys)] == [answer.generation_id]


async def test_stream_joins_by_its_idempotency_key(state: State) -> None:
    gated = Gated()
    async with gateway(state, gated) as direct:
        first = start_drawing(direct, illustrate_request(seed=None), KEYED)
        await gated.begun.acquire()
        streamed = asyncio.create_task(_all(direct.stream(illustrate_request(seed=None), KEYED, 1)))
        await until(lambda: follower_count(state))
        gated.gate.set()
        (answer,) = await streamed
        assert isinstance(answer, Answer)
        assert answer.generation_id == (await first).generation_id
        (again,) = await _all(direct.stream(illustrate_request(seed=None), KEYED, 1))
        assert again.cached


async def _all(items: Any) -> list[Any]:
    return [item async for item in items]
