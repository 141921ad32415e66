"""Limits of a conversion: invalid bytes, sizes, paths, time budgets, deadlines, cancellation, overload."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import numpy as np
import pytest
from conversions import DATA, convert, in_module_loop, logo, png
from waiting import until

from serve.ensembles.vectorizer import tasks
from serve.ensembles.vectorizer.vectorization import Vectorization
from serve.ensembles.vectorizer.vectorizer import Vectorizer
from serve.errors import AtelierError, BadImage, DeadlineExceeded, Overloaded, TooLarge, UnsupportedMedia


@in_module_loop
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", BadImage),
        (b"not an image", UnsupportedMedia),
        (DATA[: len(DATA) // 2], BadImage),
        (DATA + bytes(10 * 1024 * 1024), TooLarge),
        (png(logo()[:1, :1]), BadImage),
        (png(np.zeros((10, 5000, 4), np.uint8)), TooLarge),
        (png(np.zeros((8, 8, 4), np.uint8)), BadImage),
    ],
)
async def test_invalid_bytes_are_refused(vectorizer: Vectorizer, data: bytes, error: type[AtelierError]) -> None:
    good = asyncio.create_task(convert(vectorizer, tier=1))
    for call in (convert(vectorizer, data), vectorizer.analyze(data)):
        with pytest.raises(error) as raised:
            await call
        assert raised.value.field == "image"
    assert (await good).paths >= 1


@in_module_loop
async def test_max_bytes_is_kept_or_reported(vectorizer: Vectorizer, engines: Any) -> None:
    data = png(logo(7))
    free = await convert(vectorizer, data, tier=1)
    for tier in ("auto", "basic", 1, 2, 3):
        made = await convert(vectorizer, data, tier=tier, max_bytes=free.bytes * 7 // 10)
        assert made.bytes <= free.bytes * 7 // 10
        assert not any("max_bytes" in note for note in made.degraded)
    hopeless = await convert(vectorizer, data, tier=1, max_bytes=100)
    assert any(note.startswith("max_bytes 100 was not reached") for note in hopeless.degraded)


@in_module_loop
async def test_max_paths_is_kept(vectorizer: Vectorizer, engines: Any) -> None:
    data = png(logo(8))
    assert (await convert(vectorizer, data, tier=1)).paths > 3
    for tier in ("auto", 1, 2, 3):
        assert (await convert(vectorizer, data, tier=tier, max_paths=3)).paths <= 3


@in_module_loop
async def test_time_budget_ends_the_search(
    vectorizer: Vectorizer, engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D-053: trials that would end after the budget are not waited for."""
    run, begun = vectorizer._resources.workers.run, []

    async def slow(deadline: float | None, task: Any, *arguments: Any, **limits: Any) -> Any:
        if task is tasks.attempt:
            begun.append(arguments)
            await asyncio.sleep(600 if len(begun) > 1 else 0)
        return await run(deadline, task, *arguments, **limits)

    monkeypatch.setattr(vectorizer._resources.workers, "run", slow)
    began = time.monotonic()
    made = await convert(vectorizer, png(logo(9)), tier=3, time_budget_s=1.0, timeout_s=600)
    assert 1.0 <= time.monotonic() - began < 60
    assert made.paths >= 1
    assert len(begun) > 1


@in_module_loop
async def test_budget_too_small_for_any_trial_is_reported(vectorizer: Vectorizer, engines: Any) -> None:
    made = await convert(vectorizer, png(logo(10, 256)), tier="auto", time_budget_s=0.002, target_quality=1.0)
    assert made.tier == "1"
    assert any("time_budget_s" in note for note in made.degraded)


@in_module_loop
async def test_deadline_is_an_error(vectorizer: Vectorizer, engines: Any) -> None:
    with pytest.raises(DeadlineExceeded):
        await convert(vectorizer, png(logo(11, 1024)), tier=3, timeout_s=0.05)


@in_module_loop
async def test_cancellation_frees_the_workers(
    vectorizer: Vectorizer, engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = vectorizer._resources.workers
    run, traced_by = workers.run, []

    async def watched(deadline: float | None, task: Any, *arguments: Any, **limits: Any) -> Any:
        if task is not tasks.attempt:
            return await run(deadline, task, *arguments, **limits)
        traced_by.append(await run(deadline, os.getpid))
        return await run(deadline, time.sleep, 600)

    monkeypatch.setattr(workers, "run", watched)
    running = asyncio.create_task(convert(vectorizer, tier=1, timeout_s=600))
    await until(lambda: bool(traced_by))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    monkeypatch.undo()
    assert traced_by[0] not in workers.pids, "a worker that is busy is killed"
    assert (await convert(vectorizer, tier=1)).paths >= 1


@in_module_loop
async def test_overload_is_refused_and_passes(vectorizer: Vectorizer, engines: Any) -> None:
    workers = vectorizer._resources.workers
    bound, workers._max_waiting = workers._max_waiting, 2
    results = await asyncio.gather(
        *(convert(vectorizer, png(logo(seed)), tier=1) for seed in range(20, 40)), return_exceptions=True
    )
    workers._max_waiting = bound
    assert any(isinstance(result, Overloaded) for result in results)
    assert any(isinstance(result, Vectorization) for result in results)
    assert all(isinstance(result, Overloaded | Vectorization) for result in results)
    assert (await convert(vectorizer, tier=1)).paths >= 1
