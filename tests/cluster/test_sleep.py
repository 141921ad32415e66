"""Whether an ensemble sleeps is read rarely, and with a short time limit."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import serve.cluster.scale_to_zero
from serve.cluster.scale_to_zero import IdleState
from serve.errors import EngineUnavailable


async def until_idle(state: IdleState) -> None:
    """A look may take longer than ``now`` waits for it."""
    async with asyncio.timeout(60):
        while not await state.now():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_one_look_serves_many_probes() -> None:
    looks: list[bool] = []

    def look() -> bool:
        looks.append(True)
        return True

    sleep = IdleState(look)
    assert [await sleep.now() for _ in range(5)] == [True] * 5
    assert len(looks) == 1
    assert await sleep.now(fresh=True)
    assert len(looks) == 2, "a probe looks by itself: a call on old news would wake who has just fallen asleep"


async def test_what_was_known_stands_while_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve.cluster.scale_to_zero, "CACHE_S", 0.05)
    answers: list[bool | Exception] = [True, EngineUnavailable("gone"), EngineUnavailable("gone"), False]

    def look() -> bool:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    sleep = IdleState(look)
    await until_idle(sleep)
    while len(answers) > 1:
        assert await sleep.now()
        await asyncio.sleep(0.06)
    async with asyncio.timeout(60):
        while await sleep.now():  # noqa: ASYNC110
            await asyncio.sleep(0.06)


async def test_a_look_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve.cluster.scale_to_zero, "CACHE_S", 0.05)
    answered, looks = threading.Event(), []

    def look() -> bool:
        looks.append(True)
        return answered.wait(60)

    sleep = IdleState(look)
    began = time.monotonic()
    assert not await sleep.now()
    assert not await sleep.now()
    assert time.monotonic() - began < 30
    assert len(looks) == 1, "one look at a time"
    answered.set()
    await until_idle(sleep)


async def test_what_nobody_foresaw_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve.cluster.scale_to_zero, "CACHE_S", 0.05)
    looks: list[bool] = []

    def look() -> bool:
        looks.append(True)
        if len(looks) == 1:
            raise RuntimeError("a bug")
        return True

    sleep = IdleState(look)
    with pytest.raises(RuntimeError, match="a bug"):
        await until_idle(sleep)
    assert len(looks) == 1, "nothing was learned"
    await until_idle(sleep)
