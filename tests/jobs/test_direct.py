"""The direct path: history, the cache (A-080, C-090), and what it does when something is not there. Both databases."""

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
from direct_gateways import ADA, asks, gateway, history, is_over, rows, until, wish
from illustrator_standin import Gated, IllustratorStandIn
from jobs_standin import with_settings
from pictures import drawn, encode
from standin import StandIn

from serve.ensembles.illustrator.encoding import Encoding
from serve.ensembles.illustrator.illustration import Preview
from serve.ensembles.info_cache import CACHE_S, EnsembleInfoCache
from serve.ensembles.requests import IllustrateRequest
from serve.ensembles.vectorizer.vectorization import Analysis, Vectorization, VectorizeOptions, unmet_note
from serve.errors import AtelierError, BadImage, EngineFailure, NotFound, OutOfSpace, Overloaded, StateUnavailable
from serve.jobs.direct.service import Answer, Caller, DirectService
from serve.settings import Settings
from serve.state import State
from serve.state.database import Database
from serve.state.tables import cache, cached_objects, flights, generations, inputs, measurements, objects, results


class Other(IllustratorStandIn):
    """With engines of another version."""

    async def versions(self) -> Mapping[str, str]:
        return {name: "2" for name in await super().versions()}


async def test_the_same_request_gets_the_stored_answer(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        first = await direct.draw(wish(n=2), ADA)
        again = await direct.draw(wish(n=2), ADA)
    assert len(illustrator.asked) == 1
    assert (first.cache, first.cached, again.cache, again.cached) == ("miss", False, "hit", True)
    assert [file.data for file in again.files] == [file.data for file in first.files]
    assert [(file.width, file.height, file.seed) for file in again.files] == [(64, 64, 7), (64, 64, 8)]
    assert again.details == first.details
    assert len({first.generation_id, again.generation_id, *first.result_ids, *again.result_ids}) == 6


async def test_both_are_history(state: State) -> None:
    async with gateway(state) as direct:
        first, again = await direct.draw(wish(), ADA), await direct.draw(wish(), Caller("ben"))
    one, two = await rows(state, generations)
    assert (one.id, two.id) == (first.generation_id, again.generation_id)
    assert (one.direct, one.status, one.cached, one.user_id) == (True, "completed", False, "ada")
    assert (two.direct, two.status, two.cached, two.user_id) == (True, "completed", True, "ben")
    for row in (one, two):
        assert (row.kind, row.prompt, row.model) == ("illustrate", "fox", "mini")
        assert row.parameters["options"]["seed"] == 7
        assert row.details["model_versions"] == {"mini_unet": "1"}
        assert row.created_at <= row.started_at <= row.completed_at
    kept = {row.generation_id: row for row in await rows(state, results)}
    assert kept[one.id].object == kept[two.id].object
    assert [kept[one.id].id, kept[two.id].id] == [first.result_ids[0], again.result_ids[0]]
    measured = await rows(state, measurements)
    assert [(row.generation_id, row.success, row.cached) for row in measured] == [
        (one.id, True, False),
        (two.id, True, True),
    ]
    assert await is_over(state)


OTHERS = [
    (wish(seed=8), ADA),
    (wish("cat"), ADA),
    (wish(negative_prompt="rain"), ADA),
    (wish(num_inference_steps=3), ADA),
    (wish(n=2), ADA),
    (wish(model="turbo"), ADA),
    (wish(encoding=Encoding("webp")), ADA),
    (wish(encoding=Encoding(metadata=False)), ADA),
    (replace(wish(), more={"preset": "x"}), ADA),
    (wish(), replace(ADA, bypass_cache=True)),
]


async def test_another_request_is_drawn(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        await direct.draw(wish(), ADA)
        for other, caller in OTHERS:
            assert not (await direct.draw(other, caller)).cached, (other, caller)
    assert len(illustrator.asked) == 1 + len(OTHERS)


async def test_defaults_that_are_spelt_out_are_the_same_request(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        await direct.draw(wish(), ADA)
        spelt = wish(model="mini", width=64, height=64, num_inference_steps=8, guidance_scale=3.0, sampler="euler")
        assert (await direct.draw(spelt, ADA)).cached


async def test_without_a_seed_nothing_is_stored_or_given_again(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        for seed in (None, -1, None):
            assert (await direct.draw(wish(seed=seed), ADA)).cache == "bypass"
    drawn_seeds = [asked.seed for asked in illustrator.asked]
    assert len(set(drawn_seeds)) == 3
    assert [row.parameters["options"]["seed"] for row in await rows(state, generations)] == drawn_seeds
    assert await rows(state, cache) == []


async def test_new_engines_draw_anew(state: State) -> None:
    async with gateway(state) as direct:
        await direct.draw(wish(), ADA)
    async with gateway(state, Other()) as direct:
        assert not (await direct.draw(wish(), ADA)).cached
        # Its answers tell of version 1: they are not what the key says, and are not kept under it.
        assert not (await direct.draw(wish(), ADA)).cached


async def test_versions_are_asked_for_now_and_then() -> None:
    now, asked = 0.0, 0

    class Counting(StandIn):
        async def versions(self) -> Mapping[str, str]:
            nonlocal asked
            asked += 1
            return {"plus_one": str(asked)}

    known = EnsembleInfoCache(None, Counting(), lambda: now)
    assert [(await known.vectorizer_versions())["plus_one"] for _ in range(3)] == ["1", "1", "1"]
    now = CACHE_S
    assert [(await known.vectorizer_versions())["plus_one"] for _ in range(3)] == ["2", "2", "2"]
    assert (await known.families(), await known.illustrator_versions()) == ((), {})


async def test_no_cache_puts_and_no_store_does_not(state: State) -> None:
    async with gateway(state) as direct:
        assert (await direct.draw(wish(), Caller(bypass_cache=True, store=False))).cache == "bypass"
        assert await rows(state, cache) == []
        assert (await direct.draw(wish(), Caller(bypass_cache=True))).cache == "bypass"
        assert (await direct.draw(wish(), ADA)).cached
    assert len(await history(state)) == 3


async def test_a_cache_that_is_switched_off(settings: Settings) -> None:
    state = await State.open(with_settings(settings, cache={"enabled": False}))
    async with gateway(state) as direct:
        for _ in range(2):
            assert (await direct.draw(wish(), ADA)).cache == "bypass"
    assert await history(state) == [("ada", "completed", False)] * 2
    await state.close()


async def test_an_answer_whose_object_is_gone_is_made_again(state: State) -> None:
    async with gateway(state) as direct:
        await direct.draw(wish(), ADA)
        async with state.database.write() as connection:  # being deleted just now: its row goes first
            await connection.execute(sa.delete(objects))
        assert not (await direct.draw(wish(), ADA)).cached
        shutil.rmtree(state.settings.state_dir / "objects")
        (state.settings.state_dir / "objects").mkdir()
        assert not (await direct.draw(wish(), ADA)).cached
        assert (await direct.draw(wish(), ADA)).cached


async def test_the_cache_is_bounded(settings: Settings) -> None:
    state = await State.open(with_settings(settings, cache={"max_bytes": 20_000}))
    async with gateway(state) as direct:
        for seed in range(30):
            await direct.draw(wish(seed=seed), ADA)
        await asyncio.sleep(0)
        ledger = direct._history
        assert ledger is not None
        await ledger.cache.evict(state)
        assert (await direct.draw(wish(seed=29), ADA)).cached
        assert not (await direct.draw(wish(seed=0), ADA)).cached
    async with state.database.read() as connection:
        kept, largest = (
            await connection.execute(sa.select(sa.func.sum(cache.c.bytes), sa.func.max(cache.c.bytes)))
        ).one()
    assert kept <= 20_000 + largest  # the last one may have come after the others were evicted
    await state.close()


@pytest.mark.parametrize(
    ("failure", "recorded"),
    [
        (EngineFailure("the engine is ill"), ("EngineFailure", 500)),
        (Overloaded("too many"), ("Overloaded", 503)),
        (RuntimeError("secret of the inside"), ("EngineFailure", 500)),
    ],
)
async def test_what_fails_is_history_too(state: State, failure: Exception, recorded: tuple[str, int]) -> None:
    illustrator = IllustratorStandIn()
    illustrator.failure = failure
    async with gateway(state, illustrator) as direct:
        with pytest.raises(type(failure)):
            await direct.draw(wish(), ADA)
        illustrator.failure = None
        assert not (await direct.draw(wish(), ADA)).cached
    failed, done = await rows(state, generations)
    assert (failed.status, failed.error["type"], failed.error["status"]) == ("failed", *recorded)
    assert "secret" not in str(failed.error)
    assert (done.status, done.error) == ("completed", None)
    measured = await rows(state, measurements)
    assert [(row.success, bool(row.error_message)) for row in measured] == [(False, True), (True, False)]


@pytest.mark.parametrize("bad", [wish(model="none"), wish(width=63), wish(sampler="nothing")])
async def test_the_callers_own_fault_is_no_history(state: State, bad: IllustrateRequest) -> None:
    async with gateway(state) as direct:
        with pytest.raises(AtelierError) as told:
            await direct.draw(bad, ADA)
    assert told.value.status < 500
    assert await history(state) == []
    assert await rows(state, measurements) == []
    assert await is_over(state)


async def test_without_a_state_nothing_is_kept() -> None:
    illustrator = IllustratorStandIn()
    direct = DirectService(None, illustrator, StandIn(), Settings())
    await direct.start()
    first, again = await direct.draw(wish(), ADA), await direct.draw(wish(), ADA)
    assert (first.cache, again.cache, first.kept) == ("bypass", "bypass", False)
    assert len({first.generation_id, again.generation_id}) == 2
    assert illustrator.asked == [wish().options] * 2
    assert await direct.cached_answer(wish(), ADA) is None
    await direct.close()


async def test_without_an_illustrator_there_is_nothing_to_draw_with(state: State) -> None:
    direct = DirectService(state, None, StandIn(), state.settings)
    with pytest.raises(NotFound, match="build_engines"):
        await direct.draw(wish(), ADA)
    assert await direct.families() == ()


@contextlib.asynccontextmanager
async def locked(state: State) -> Any:
    """Nobody else writes down a flight."""
    other = Database(state.database.url, state.settings.database)
    async with other.write() as connection:
        if not other.is_sqlite:
            await connection.execute(sa.text("LOCK TABLE flights IN EXCLUSIVE MODE"))
        yield
    await other.close()


async def test_without_a_database_nothing_is_begun(settings: Settings) -> None:
    state = await State.open(with_settings(settings, database={"timeout_s": 0.2}))
    illustrator, vectorizer, image = IllustratorStandIn(), StandIn(), encode(drawn())
    async with gateway(state, illustrator, vectorizer) as direct:
        async with locked(state):
            for refused in (
                direct.draw(wish(), ADA),
                direct.vectorize(image, VectorizeOptions(), ADA),
                anext(direct.stream(wish(), ADA, 0)),
            ):
                with pytest.raises(StateUnavailable):
                    await refused
            assert (await direct.analyze(image, ADA))[0]["width"] == 64  # which needs none
        assert illustrator.asked == []
        assert not (await direct.draw(wish(), ADA)).cached
    assert await is_over(state)
    await state.close()


async def test_without_a_store_the_answer_is_503_and_then_all_goes_on(state: State) -> None:
    folder = state.settings.state_dir / "objects"
    async with gateway(state) as direct:
        folder.rename(folder.with_name("away"))
        with pytest.raises(StateUnavailable):
            await direct.draw(wish(), ADA)
        assert await rows(state, results) == await rows(state, cache) == []
        folder.with_name("away").rename(folder)
        assert not (await direct.draw(wish(), ADA)).cached
        assert (await direct.draw(wish(), ADA)).cached
    assert await is_over(state)


class Full:
    """An object store whose disk is full."""

    async def put_all(self, files: Any) -> Any:
        raise OutOfSpace("there is no space left to keep this")


async def test_a_full_disk_leaves_nothing_half_written(state: State) -> None:
    full = replace(state, objects=Full())  # type: ignore[arg-type]
    async with gateway(full) as direct:
        with pytest.raises(OutOfSpace):
            await direct.draw(wish(), ADA)
    assert [status for _, status, _ in await history(state)] == ["failed"]
    assert await rows(state, results) == await rows(state, cache) == await rows(state, cached_objects) == []
    assert await is_over(state)


async def test_what_could_not_be_written_down_ends_with_a_beat(settings: Settings) -> None:
    """A flight whose end met a database that was away does not keep others waiting for ever."""
    state = await State.open(with_settings(settings, database={"timeout_s": 0.2}, jobs={"beat_s": 0.02}))
    gated = Gated()
    async with gateway(state, gated) as direct:
        await direct.start()
        asking = asks(direct, wish())
        await gated.begun.acquire()
        async with locked(state):
            gated.gate.set()
            with pytest.raises(StateUnavailable):
                await asking
        assert not (await direct.draw(wish(), ADA)).cached
        await until(lambda: is_over(state))
    await state.close()


async def test_previews_then_the_answer(state: State) -> None:
    illustrator = IllustratorStandIn()
    async with gateway(state, illustrator) as direct:
        assert await direct.cached_answer(wish(), ADA) is None
        items = [item async for item in direct.stream(wish(), ADA, 2)]
        assert [item.step for item in items if isinstance(item, Preview)] == [2, 4, 6]
        answer = items[-1]
        assert isinstance(answer, Answer)
        assert (answer.cached, answer.kept) == (False, True)
        known = await direct.cached_answer(wish(), ADA)
        assert known is not None
        assert (known.cached, known.files[0].data) == (True, answer.files[0].data)
        assert await direct.cached_answer(wish(seed=None), ADA) is None
    assert await history(state) == [("ada", "completed", False), ("ada", "completed", True)]


@pytest.mark.parametrize("failure", [None, EngineFailure("ill")])
async def test_a_stream_that_ends_early_is_history(state: State, failure: EngineFailure | None) -> None:
    illustrator = IllustratorStandIn()
    illustrator.failure, illustrator.fails_after = failure, 4
    async with gateway(state, illustrator) as direct:
        stream = direct.stream(wish(), ADA, 1)
        assert isinstance(await anext(stream), Preview)
        if failure is None:
            await stream.aclose()
        else:
            with pytest.raises(EngineFailure):
                _ = [item async for item in stream]
        assert illustrator.closed == 1
    assert [status for _, status, _ in await history(state)] == ["failed" if failure else "cancelled"]
    assert await is_over(state)


class Tracing(StandIn):
    """Counts conversions; ``notes`` are what each was done without."""

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


async def test_conversions_are_given_again(state: State, logo: bytes) -> None:
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
async def test_what_another_attempt_might_do_better_is_not_given_again(
    state: State, logo: bytes, note: str, kept: bool
) -> None:
    tracing = Tracing()
    tracing.notes = (note,)
    async with gateway(state, vectorizer=tracing) as direct:
        svg = wish(encoding=Encoding("svg"))
        for _ in range(2):
            picture = await direct.vectorize(logo, VectorizeOptions(), ADA)
            drawing = await direct.draw(svg, ADA)
            assert drawing.details["degraded"] == [note]
    assert (picture.cached, drawing.cached) == (kept, kept)


async def test_a_bad_picture_is_no_history(state: State) -> None:
    async with gateway(state) as direct:
        with pytest.raises(BadImage):
            await direct.vectorize(b"", VectorizeOptions(), ADA)
    assert await history(state) == []
    assert await rows(state, objects) == []
    assert await is_over(state)


async def test_analyses_are_given_again_without_history(state: State, logo: bytes, tmp_path: Path) -> None:
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
