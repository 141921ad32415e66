"""Drawings as pixels: what becomes of a process that renders one when nobody waits for it, or when it cannot start."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import NoReturn

import pytest

from serve.api.library import renditions
from serve.api.library.renditions import render

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"><rect width="4" height="4"/></svg>'


class Starting:
    """The start of a process that fails once it ``may``."""

    def __init__(self) -> None:
        self.begun, self.may = threading.Event(), threading.Event()

    def __call__(self, width: int, height: int) -> NoReturn:
        self.begun.set()
        assert self.may.wait(20)
        raise OSError("no process is left")


async def test_who_leaves_is_cancelled_though_nothing_could_be_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    starting = Starting()
    monkeypatch.setattr(renditions, "_renderer", starting)
    asked = asyncio.create_task(render(SVG, 4, 4))
    assert await asyncio.to_thread(starting.begun.wait, 20)
    asked.cancel()
    await asyncio.sleep(0.01)
    starting.may.set()
    await asyncio.wait({asked})
    assert asked.cancelled()
    del asked
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_what_cannot_be_started_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = Starting()
    starting.may.set()
    monkeypatch.setattr(renditions, "_renderer", starting)
    with pytest.raises(OSError, match="no process is left"):
        await render(SVG, 4, 4)
