"""Rasterising SVG results: the rendering process when its request is cancelled, or when it cannot start."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import NoReturn

import pytest

from serve.api.library import renditions
from serve.api.library.renditions import render

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"><rect width="4" height="4"/></svg>'


class FailingStart:
    """The start of a process, which waits for ``may`` and then fails."""

    def __init__(self) -> None:
        self.started, self.release = threading.Event(), threading.Event()

    def __call__(self, module: str, *arguments: str) -> NoReturn:
        self.started.set()
        assert self.release.wait(60)
        raise OSError("no process is left")


async def test_cancelled_request_ignores_a_failed_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    starting = FailingStart()
    monkeypatch.setattr(renditions, "_renderer", starting)
    rendering = asyncio.create_task(render(SVG, 4, 4))
    assert await asyncio.to_thread(starting.started.wait, 20)
    rendering.cancel()
    await asyncio.sleep(0.01)
    starting.release.set()
    await asyncio.wait({rendering})
    assert rendering.cancelled()
    del rendering
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_failed_start_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = FailingStart()
    starting.release.set()
    monkeypatch.setattr(renditions, "_renderer", starting)
    with pytest.raises(OSError, match="no process is left"):
        await render(SVG, 4, 4)
