"""The direct path: history, the result cache (A-080, C-090), and outages of its dependencies. On both databases."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from direct_gateways import ADA, gateway, history, illustrate_request, no_flights_left, rows, start_drawing, until
from illustrator_standin import Gated, IllustratorStandIn
from jobs_standin import with_settings
from pictures import drawn, encode
from standin import StandIn

from serve.ensembles.illustrator.encoding import Encoding
from serve.ensembles.illustrator.service import Preview
from serve.ensembles.info_cache import CACHE_S, EnsembleInfoCache
from serve.ensembles.requests import IllustrateRequest
from serve.ensembles.vectorizer.vectorization import Analysis, Vectorization, VectorizeOptions, unmet_note
from serve.errors import AtelierError, BadImage, EngineFailure, NotFound, OutOfSpace, Overloaded, StateUnavailable
from serve.jobs.direct.service import Answer, Caller, DirectService
from serve.settings import Settings
from serve.state import State
from serve.state.database import Database
from serve.state.tables import cache, cached_objects, flights, generations, inputs, measurements, objects, results


class OtherVersions(IllustratorStandIn):
    """An illustrator with engines of another version."""

    async def versions(self) -> Mapping[str, str]:
        return {name: "2" for name in await super().versions()}


async def test_repeated_request_is_answered_from_the_cache(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        first = await direct.draw(illustrate_request(n=2), ADA)
        again = await direct.draw(illustrate_request(n=2), ADA)
    assert len(illustrator.asked) == 1
    assert (first.cache, first.cached, again.cache, again.cached) == ("miss", False, "hit", True)
    assert [file.data for file in again.files] == [file.data for file in first.files]
    assert [(file.width, file.height, file.seed) for file in again.files] == [(64, 64, 7), (64, 64, 8)]
    assert again.details == first.details
    assert len({first.generation_id, again.generation_id, *first.result_ids, *again.result_ids}) == 6


async def test_drawn_and_cached_requests_are_in_the_history(state: State) -> None:
    async with gateway(state) as direct:
        first, again = (
            await direct.draw(illustrate_request(), ADA),
            await direct.draw(illustrate_request(), Caller("ben")),
        )
    one, two = await rows(state, generations)
    assert (one.id, two.id) == (first.generation_id, again.generation_id)
    assert (one.direct, one.status, one.cached, one.user_id) == (True, "completed", False, "ada")
    assert (two.direct, two.status, two.cached, two.user_id) == (True, "completed", True, "ben")
    for row in (one, two):
        assert (row.kind, row.prompt, row.model) == ("illustrate", "fox", "mini")
        assert row.parameters["options"]["seed"] == 7
        assert row.details["model_versions"] == {"mini_unet": "1"}
        assert row.created_at <= row.started_at <= row.completed_at
    stored_results = {row.generation_id: row for row in await rows(state, results)}
    assert stored_results[one.id].object == stored_results[two.id].object
    assert [stored_results[one.id].id, stored_results[two.id].id] == [first.result_ids[0], again.result_ids[0]]
    measured = await rows(state, measurements)
    assert [(row.generation_id, row.success, row.cached) for row in measured] == [
        (one.id, True, False),
        (two.id, True, True),
    ]
    assert await no_flights_left(state)


OTHERS = [
    (illustrate_request(seed=8), ADA),
    (illustrate_request("cat"), ADA),
    (illustrate_request(negative_prompt="rain"), ADA),
    (illustrate_request(num_inference_steps=3), ADA),
    (illustrate_request(n=2), ADA),
    (illustrate_request(model="turbo"), ADA),
    (illustrate_request(encoding=Encoding("webp")), ADA),
    (illustrate_request(encoding=Encoding(metadata=False)), ADA),
    (replace(illustrate_request(), more={"preset": "x"}), ADA),
    (illustrate_request(), replace(ADA, bypass_cache=True)),
]


async def test_different_requests_miss_the_cache(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        await direct.draw(illustrate_request(), ADA)
        for other, caller in OTHERS:
            assert not (await direct.draw(other, caller)).cached, (other, caller)
    assert len(illustrator.asked) == 1 + len(OTHERS)


async def test_explicit_defaults_hit_the_cache(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        await direct.draw(illustrate_request(), ADA)
        spelt = illustrate_request(
            model="mini", width=64, height=64, num_inference_steps=8, guidance_scale=3.0, sampler="euler"
        )
        assert (await direct.draw(spelt, ADA)).cached


async def test_requests_without_a_seed_bypass_the_cache(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        for seed in (None, -1, None):
            assert (await direct.draw(illustrate_request(seed=seed), ADA)).cache == "bypass"
    drawn_seeds = [options.seed for options in illustrator.asked]
    assert len(set(drawn_seeds)) == 3
    assert [row.parameters["options"]["seed"] for row in await rows(state, generations)] == drawn_seeds
    assert await rows(state, cache) == []


async def test_new_engine_versions_miss_the_cache(state: State) -> None:
    async with gateway(state) as direct:
        await direct.draw(illustrate_request(), ADA)
    async with gateway(state, OtherVersions()) as direct:
        assert not (await direct.draw(illustrate_request(), ADA)).cached
        # Its results are of version 1: they do not match the key, and are not stored under it.
        assert not (await direct.draw(illustrate_request(), ADA)).cached


async def test_engine_versions_are_refreshed_periodically() -> None:
    now, calls = 0.0, 0

    class Counting(StandIn):
        async def versions(self) -> Mapping[str, str]:
            nonlocal calls
            calls += 1
            return {"plus_one": str(calls)}

    info_cache = EnsembleInfoCache(None, Counting(), lambda: now)
    assert [(await info_cache.vectorizer_versions())["plus_one"] for _ in range(3)] == ["1", "1", "1"]
    now = CACHE_S
    assert [(await info_cache.vectorizer_versions())["plus_one"] for _ in range(3)] == ["2", "2", "2"]
    assert (await info_cache.families(), await info_cache.illustrator_versions()) == ((), {})


async def test_no_cache_stores_and_no_store_does_not(state: State) -> None:
    async with gateway(state) as direct:
        assert (await direct.draw(illustrate_request(), Caller(bypass_cache=True, store=False))).cache == "bypass"
        assert await rows(state, cache) == []
        assert (await direct.draw(illustrate_request(), Caller(bypass_cache=True))).cache == "bypass"
        assert (await direct.draw(illustrate_request(), ADA)).cached
    assert len(await history(state)) == 3


async def test_disabled_cache_is_bypassed(settings: Settings) -> None:
    state = await State.open(with_settings(settings, cache={"enabled": False}))
    async with gateway(state) as direct:
        for _ in range(2):
            assert (await direct.draw(illustrate_request(), ADA)).cache == "bypass"
    assert await history(state) == [("ada", "completed", False)] * 2
    await state.close()


async def test_cache_entry_with_a_missing_object_is_drawn_again(settings: Settings) -> None:
    state = await State.open(with_settings(settings, cache={"recent_s": 0}))
    async with gateway(state) as direct:
        await direct.draw(illustrate_request(), ADA)
        async with state.database.write() as connection:  # as during a deletion, which removes the row first
            await connection.execute(sa.delete(objects))
        assert not (await direct.draw(illustrate_request(), ADA)).cached
        shutil.rmtree(state.settings.state_dir / "objects")
        (state.settings.state_dir / "objects").mkdir()
        assert not (await direct.draw(illustrate_request(), ADA)).cached
        assert (await direct.draw(illustrate_request(), ADA)).cached
    await state.close()


async def test_recent_answer_comes_from_memory_until_it_is_gone(state: State) -> None:
    """Within `cache.recent_s` no database is read; an answer whose files were deleted meanwhile is recorded no more."""
    async with gateway(state) as direct:
        for _ in range(2):
            await direct.draw(illustrate_request(), ADA)
        async with state.database.write() as connection:
            await connection.execute(sa.delete(cache))
        answer = await direct.draw(illustrate_request(), ADA)
        assert (answer.cached, answer.kept) == (True, True)
        async with state.database.write() as connection:
            await connection.execute(sa.delete(objects))
        answer = await direct.draw(illustrate_request(), ADA)
        assert (answer.cached, answer.kept) == (False, True)
        assert [cached for *_, cached in await history(state)] == [False, True, True, False]


async def test_cache_size_is_bounded(settings: Settings) -> None:
    state = await State.open(with_settings(settings, cache={"max_bytes": 20_000}))
    async with gateway(state) as direct:
        for seed in range(30):
            await direct.draw(illustrate_request(seed=seed), ADA)
        await asyncio.sleep(0)
        ledger = direct._history
        assert ledger is not None
        await ledger.cache.evict(state)
        assert (await direct.draw(illustrate_request(seed=29), ADA)).cached
        assert not (await direct.draw(illustrate_request(seed=0), ADA)).cached
    async with state.database.read() as connection:
        kept, largest = (
            await connection.execute(sa.select(sa.func.sum(cache.c.bytes), sa.func.max(cache.c.bytes)))
        ).one()
    assert kept <= 20_000 + largest  # the last entry may have been stored after the eviction
    await state.close()


@pytest.mark.parametrize(
    ("failure", "recorded"),
    [
        (EngineFailure("the engine is ill"), ("EngineFailure", 500)),
        (Overloaded("too many"), ("Overloaded", 503)),
        (RuntimeError("secret of the inside"), ("EngineFailure", 500)),
    ],
)
async def test_failures_are_in_the_history(state: State, failure: Exception, recorded: tuple[str, int]) -> None:
    illustrator = IllustratorStandIn()
    illustrator.failure = failure
    async with gateway(state, illustrator) as direct:
        with pytest.raises(type(failure)):
            await direct.draw(illustrate_request(), ADA)
        illustrator.failure = None
        assert not (await direct.draw(illustrate_request(), ADA)).cached
    failed, done = await rows(state, generations)
    assert (failed.status, failed.error["type"], failed.error["status"]) == ("failed", *recorded)
    assert "secret" not in str(failed.error)
    assert (done.status, done.error) == ("completed", None)
    measured = await rows(state, measurements)
    assert [(row.success, bool(row.error_message)) for row in measured] == [(False, True), (True, False)]


@pytest.mark.parametrize(
    "bad", [illustrate_request(model="none"), illustrate_request(width=63), illustrate_request(sampler="nothing")]
)
async def test_client_errors_are_not_in_the_history(state: State, bad: IllustrateRequest) -> None:
    async with gateway(state) as direct:
        with pytest.raises(AtelierError) as error:
            await direct.draw(bad, ADA)
    assert error.value.status < 500
    assert await history(state) == []
    assert await rows(state, measurements) == []
    assert await no_flights_left(state)


async def test_nothing_is_stored_without_state() -> None:
    illustrator = IllustratorStandIn()
    direct = DirectService(None, illustrator, StandIn(), Settings())
    await direct.start()
    first, again = await direct.draw(illustrate_request(), ADA), await direct.draw(illustrate_request(), ADA)
    assert (first.cache, again.cache, first.kept) == ("bypass", "bypass", False)
    assert len({first.generation_id, again.generation_id}) == 2
    assert illustrator.asked == [illustrate_request().options] * 2
    assert await direct.cached_answer(illustrate_request(), ADA) is None
    await direct.close()


async def test_drawing_without_an_illustrator_is_not_found(state: State) -> None:
    direct = DirectService(state, None, StandIn(), state.settings)
    with pytest.raises(NotFound, match="build_engines"):
        await direct.draw(illustrate_request(), ADA)
    assert await direct.families() == ()


@contextlib.asynccontextmanager
async def locked(state: State) -> Any:
    """Blocks all other writers of flights."""
    other = Database(state.database.url, state.settings.database)
    async with other.write() as connection:
        if not other.is_sqlite:
            await connection.execute(sa.text("LOCK TABLE flights IN EXCLUSIVE MODE"))
        yield
    await other.close()


async def test_database_outage_refuses_before_drawing(settings: Settings) -> None:
    state = await State.open(with_settings(settings, database={"timeout_s": 0.2}))
    illustrator, vectorizer, image = IllustratorStandIn(), StandIn(), encode(drawn())
    async with gateway(state, illustrator, vectorizer) as direct:
        async with locked(state):
            for refused in (
                direct.draw(illustrate_request(), ADA),
                direct.vectorize(image, VectorizeOptions(), ADA),
                anext(direct.stream(illustrate_request(), ADA, 0)),
            ):
                with pytest.raises(StateUnavailable):
                    await refused
            assert (await direct.analyze(image, ADA))[0]["width"] == 64  # which needs no database
        assert illustrator.asked == []
        assert not (await direct.draw(illustrate_request(), ADA)).cached
    assert await no_flights_left(state)
    await state.close()


async def test_store_outage_returns_503_and_recovers(state: State) -> None:
    folder = state.settings.state_dir / "objects"
    async with gateway(state) as direct:
        folder.rename(folder.with_name("away"))
        with pytest.raises(StateUnavailable):
            await direct.draw(illustrate_request(), ADA)
        assert await rows(state, results) == await rows(state, cache) == []
        folder.with_name("away").rename(folder)
        assert not (await direct.draw(illustrate_request(), ADA)).cached
        assert (await direct.draw(illustrate_request(), ADA)).cached
    assert await no_flights_left(state)


class Full:
    """An object store whose disk is full."""

    async def put_all(self, files: Any) -> Any:
        raise OutOfSpace("there is no space left to keep this")


async def test_full_disk_leaves_no_partial_result(state: State) -> None:
    full = replace(state, objects=Full())  # type: ignore[arg-type]
    async with gateway(full) as direct:
        with pytest.raises(OutOfSpace):
            await direct.draw(illustrate_request(), ADA)
    assert [status for _, status, _ in await history(state)] == ["failed"]
    assert await rows(state, results) == await rows(state, cache) == await rows(state, cached_objects) == []
    assert await no_flights_left(state)


async def test_unwritten_end_of_a_flight_is_written_with_a_heartbeat(settings: Settings) -> None:
    """A flight whose end could not be written does not block others for ever."""
    state = await State.open(with_settings(settings, database={"timeout_s": 0.2}, jobs={"beat_s": 0.02}))
    gated = Gated()
    async with gateway(state, gated) as direct:
        await direct.start()
        drawing = start_drawing(direct, illustrate_request())
        await gated.begun.acquire()
        async with locked(state):
            gated.gate.set()
            with pytest.raises(StateUnavailable):
                await drawing
        assert not (await direct.draw(illustrate_request(), ADA)).cached
        await until(lambda: no_flights_left(state))
    await state.close()


async def test_stream_has_previews_and_then_the_answer(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        assert await direct.cached_answer(illustrate_request(), ADA) is None
        items = [item async for item in direct.stream(illustrate_request(), ADA, 2)]
        assert [item.step for item in items if isinstance(item, Preview)] == [2, 4, 6]
        answer = items[-1]
        assert isinstance(answer, Answer)
        assert (answer.cached, answer.kept) == (False, True)
        known = await direct.cached_answer(illustrate_request(), ADA)
        assert known is not None
        assert (known.cached, known.files[0].data) == (True, answer.files[0].data)
        assert await direct.cached_answer(illustrate_request(seed=None), ADA) is None
    assert await history(state) == [("ada", "completed", False), ("ada", "completed", True)]


@pytest.mark.parametrize("failure", [None, EngineFailure("ill")])
async def test_aborted_stream_is_in_the_history(state: State, failure: EngineFailure | None) -> None:
    illustrator = IllustratorStandIn()
    illustrator.failure, illustrator.fails_after = failure, 4
    async with gateway(state, illustrator) as direct:
        stream = direct.stream(illustrate_request(), ADA, 1)
        assert isinstance(await anext(stream), Preview)
        if failure is None:
            await stream.aclose()
        else:
            with pytest.raises(EngineFailure):
                _ = [item async for item in stream]
        assert illustrator.closed == 1
    assert [status for _, status, _ in await history(state)] == ["failed" if failure else "cancelled"]
    assert await no_flights_left(state)


class Tracing(StandIn):
    """Counts conversions; ``notes`` are the ``degraded`` notes of their results."""

    def __init__(self) -> None:
        super().__init__()
        self.traced = self.analyzed = 0
        self.notes: tuple[str, ...] = ()

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        self.traced += 1
        return replace(await super().vectorize(data, options), degraded=self.notes)

    async def analyze(self, data: bytes, engine_versions: Any = None) -> Analysis:
        self.analyzed += 1
        return replace(await super().analyze(data), degraded=self.notes)


async def test_repeated_conversion_is_answered_from_the_cache(state: State, logo: bytes) -> None:
    tracing = Tracing()
    async with gateway(state, vectorizer=tracing) as direct:
        first = await direct.vectorize(logo, VectorizeOptions(), ADA)
        again = await direct.vectorize(logo, VectorizeOptions(), ADA)
        assert (first.cache, again.cache, tracing.traced) == ("miss", "hit", 1)
        assert again.files[0].data == first.files[0].data
        assert again.details == json.loads(json.dumps(first.details))
        assert not (await direct.vectorize(logo, VectorizeOptions(tier=2), ADA)).cached
        assert not (await direct.vectorize(encode(drawn(size=48)), VectorizeOptions(), ADA)).cached
    assert tracing.traced == 3
    one, two, *_ = await rows(state, generations)
    assert (one.kind, one.prompt, one.cached, two.cached) == ("vectorize", "", False, True)
    names = {row.generation_id: row.object for row in await rows(state, inputs)}
    assert names[one.id] == names[two.id] == f"{hashlib.sha256(logo).hexdigest()}.png"
    assert await state.objects.get(names[one.id]) == logo


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        (unmet_note("target_quality", 0.9, 0.8), True),
        (unmet_note("max_bytes", 100, 200), True),
        (unmet_note("time_budget_s", 0.1, 0.2), False),
        ("quality failed (engine unavailable): tier 1", False),
    ],
)
async def test_degraded_results_are_not_cached(state: State, logo: bytes, note: str, kept: bool) -> None:
    tracing = Tracing()
    tracing.notes = (note,)
    async with gateway(state, vectorizer=tracing) as direct:
        svg = illustrate_request(encoding=Encoding("svg"))
        for _ in range(2):
            picture = await direct.vectorize(logo, VectorizeOptions(), ADA)
            drawing = await direct.draw(svg, ADA)
            assert drawing.details["degraded"] == [note]
    assert (picture.cached, drawing.cached) == (kept, kept)


async def test_invalid_picture_is_not_in_the_history(state: State) -> None:
    async with gateway(state) as direct:
        with pytest.raises(BadImage):
            await direct.vectorize(b"", VectorizeOptions(), ADA)
    assert await history(state) == []
    assert await rows(state, objects) == []
    assert await no_flights_left(state)


async def test_analyses_are_cached_without_history(state: State, logo: bytes, tmp_path: Path) -> None:
    """D-014."""
    tracing = Tracing()
    async with gateway(state, vectorizer=tracing) as direct:
        first, word = await direct.analyze(logo, ADA)
        again, word_again = await direct.analyze(logo, Caller("ben"))
        assert (word, word_again, tracing.analyzed) == ("miss", "hit", 1)
        assert again == {**first, "degraded": []}
        assert (await direct.analyze(logo, Caller(bypass_cache=True)))[1] == "bypass"
        tracing.notes = ("classifier failed (engine failed): logo type by rules",)
        for _ in range(2):
            assert (await direct.analyze(encode(drawn(size=48)), ADA))[1] == "miss"
    (row,) = await rows(state, cache)
    assert (row.expires_at - row.created_at).total_seconds() == 3600
    assert await history(state) == []
    assert await rows(state, flights) == await rows(state, measurements) == []
