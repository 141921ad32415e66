"""The files of adapters: what is in use stays, what is not makes room."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.diffusion.family import parse
from serve.engines.adapter_files import adapter_path
from serve.ensembles.illustrator.pipeline.adapter_bank import AdapterBank
from serve.errors import DeadlineExceeded, Overloaded
from tests.ensembles.drawn_family import FAMILY

BYTES = 1000


async def arrays() -> dict[str, Any]:
    return {"a": np.zeros(BYTES, np.uint8)}


def bank(folder: Path, files: int = 2) -> AdapterBank:
    return AdapterBank(parse({"family": FAMILY}), folder, max_bytes=files * BYTES)


async def test_least_recently_used_makes_room_and_what_is_in_use_stays(tmp_path: Path) -> None:
    small = bank(tmp_path)
    with small.holding():
        used = await small.add("used", arrays)
        first = await asyncio.create_task(small.add("first", arrays))
        with pytest.raises(Overloaded):
            await small.add("one too many", arrays)
    with small.holding():
        assert await small.add("used", arrays) == used
        third = await small.add("third", arrays)
    files = {number for number in (used, first, third) if adapter_path(tmp_path, number).exists()}
    assert files == {used, third}
    assert small._holds == {}


async def test_concurrent_files_stay_within_the_space(tmp_path: Path) -> None:
    small = bank(tmp_path, files=3)
    results = await asyncio.gather(*(small.add(str(i), arrays) for i in range(10)), return_exceptions=True)
    assert len(os.listdir(tmp_path)) <= 3
    assert all(isinstance(one, int | Overloaded) for one in results)


async def test_deadline_of_one_drawing_does_not_end_another(tmp_path: Path) -> None:
    small, waits = bank(tmp_path), asyncio.Event()

    async def late() -> dict[str, Any]:
        await waits.wait()
        raise DeadlineExceeded("too late")

    first = asyncio.create_task(small.add("same", late))
    await asyncio.sleep(0)
    second = asyncio.create_task(small.add("same", arrays))
    await asyncio.sleep(0)
    waits.set()
    with pytest.raises(DeadlineExceeded):
        await first
    assert adapter_path(tmp_path, await second).exists()


async def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    small = bank(tmp_path)
    with pytest.raises(Exception, match="no room") as raised:
        await small.add("a", arrays)
    assert raised.value.status == 507  # type: ignore[attr-defined]
    assert os.listdir(tmp_path) == []
    assert small._reserved == 0
