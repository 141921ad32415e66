"""Several versions of one engine in one real Triton."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from versioned import ENGINE, GOOD, UNLOADABLE, model, write_version

from serve.engines.engine_set import EngineSet, EngineSetService
from serve.engines.triton import versions as versions_module
from serve.errors import EngineUnavailable, Overloaded

pytestmark = pytest.mark.triton
X = {"x": np.ones((1, 4), np.float32)}


@pytest.fixture
async def room(repository: Path) -> AsyncIterator[EngineSet]:
    opened = EngineSet(repository, [ENGINE])
    await opened.start()
    yield opened
    await opened.close()


async def factor(room: EngineSet, version: str = "") -> float:
    """What the version multiplies by; the current one when none is named."""
    async with room.versions.using({ENGINE: version} if version else {}) as chosen:
        return float((await room.client.infer(ENGINE, X, version=chosen[ENGINE]))["y"][0, 0])


async def test_the_lowest_is_served_until_somebody_says_otherwise(room: EngineSet) -> None:
    """D-091: a version that is laid into the repository is not served by that."""
    assert (await factor(room), room.versions.loaded(ENGINE)) == (1.0, ("1",))
    assert await EngineSetService(room).versions() == {
        ENGINE: "1.0", f"{ENGINE}/": "1.0", f"{ENGINE}/1": "1.0", f"{ENGINE}/2": "2.0", f"{ENGINE}/3": "3.0",
        f"{ENGINE}/4": "4.0", f"{ENGINE}/5": "5.0", f"{ENGINE}/7": "1.0", f"{ENGINE}/8": "8.0",
    }  # fmt: skip


async def test_two_answer_side_by_side(room: EngineSet) -> None:
    """D-083. What nobody has loaded yet is loaded for whoever asks; who names none has the current one all the same."""
    assert [await factor(room, version) for version in ("1", GOOD, "")] == [1.0, 2.0, 1.0]
    assert room.versions.loaded(ENGINE) == ("1", "2")
    assert [room.versions.label(ENGINE, version) for version in ("", "1", "2", "99")] == [
        "1.0",
        "1.0",
        "2.0",
        "unknown",
    ]
    assert (await EngineSetService(room).metadata(ENGINE))["versions"] == ["2", "1"], "the current one is told last"
    assert await room.versions.retain(ENGINE, [GOOD, "1"]) == {}
    room.versions.switch(ENGINE, GOOD)
    assert (await factor(room), room.versions.label(ENGINE)) == (2.0, "2.0")
    assert (await EngineSetService(room).metadata(ENGINE))["versions"] == ["1", "2"]


async def test_what_does_not_load_changes_nothing(room: EngineSet) -> None:
    for version in (UNLOADABLE, "99"):
        with pytest.raises(EngineUnavailable, match=r"does not load|times/99 is not in the model repository"):
            await factor(room, version)
    failures = await room.versions.retain(ENGINE, [UNLOADABLE, GOOD])
    assert list(failures) == [UNLOADABLE]
    assert "/" not in failures[UNLOADABLE], "no path of the machine"
    assert (await factor(room), room.versions.loaded(ENGINE)) == (1.0, ("1", "2"))
    assert (await room.health())[ENGINE].ready


async def test_a_version_that_is_mended_is_tried_again(room: EngineSet, repository: Path) -> None:
    with pytest.raises(EngineUnavailable):
        await factor(room, UNLOADABLE)
    shutil.rmtree(repository / ENGINE / UNLOADABLE)
    write_version(repository, UNLOADABLE, model(5.0))
    with pytest.raises(EngineUnavailable):
        await factor(room, UNLOADABLE)  # not again so soon, whoever asks
    room.versions.clear_failures(ENGINE)
    assert await factor(room, UNLOADABLE) == 5.0


async def test_a_restart_brings_the_same_versions(room: EngineSet) -> None:
    await room.versions.retain(ENGINE, [GOOD, "1"])
    room.versions.switch(ENGINE, GOOD)
    assert room._server is not None
    os.kill(room._server.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        while not room._server.restarts or not (await room.health())[ENGINE].ready:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert [await factor(room), await factor(room, "1")] == [2.0, 1.0]


async def test_what_nobody_wants_goes_but_not_from_under_a_request(
    room: EngineSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job under way keeps the version that it began with."""
    monkeypatch.setattr(versions_module, "UNUSED_TTL_S", 0.0)
    await room.versions.retain(ENGINE, ["1", GOOD])
    async with room.versions.using({ENGINE: GOOD}):
        await room.versions.retain(ENGINE, ["1"])
        assert room.versions.loaded(ENGINE) == ("1", "2")
    await room.versions.retain(ENGINE, ["1"])
    assert room.versions.loaded(ENGINE) == ("1",)
    assert (await room.client.metadata(ENGINE))["versions"] == ["1"]
    assert await factor(room) == 1.0


async def test_no_more_than_so_many_are_loaded(room: EngineSet, repository: Path) -> None:
    for version in range(20, 24):
        write_version(repository, str(version), model(float(version)))
    for wanted in (GOOD, "20", "21"):
        await factor(room, wanted)
    assert room.versions.loaded(ENGINE) == ("1", GOOD, "20", "21")
    assert await factor(room, "22") == 22.0
    assert room.versions.loaded(ENGINE) == ("1", "20", "21", "22"), "the one that was used the longest time ago went"
    using = room.versions.using
    async with using({ENGINE: "20"}), using({ENGINE: "21"}), using({ENGINE: "22"}):
        with pytest.raises(Overloaded):
            await factor(room, "23")


async def test_loading_disturbs_nobody(room: EngineSet) -> None:
    """While others are loaded, fail to load and go, the current one answers every request."""
    answers, ended = [], asyncio.Event()

    async def ask() -> None:
        while not ended.is_set():
            answers.append(await factor(room))

    asking = [asyncio.create_task(ask()) for _ in range(4)]
    for wanted in ([GOOD], [GOOD, UNLOADABLE], [], [GOOD]):
        await room.versions.retain(ENGINE, ["1", *wanted])
        await asyncio.sleep(0.1)
    ended.set()
    await asyncio.gather(*asking)
    assert len(answers) > 20
    assert set(answers) == {1.0}


async def test_a_stub_that_ends_with_its_version_is_no_fault(room: EngineSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton notices the end of a stub late: for a moment it looks as if it had been killed."""
    monkeypatch.setattr(versions_module, "UNUSED_TTL_S", 0.0)
    monkeypatch.setattr("serve.observability.metrics.processes.state", lambda pid: "Z")
    assert room._server is not None
    room._server.set_versions(ENGINE, ["1"])
    await room.versions.retain(ENGINE, ["1", GOOD])
    await asyncio.sleep(2)
    assert (room._server.restarts, await factor(room)) == (0, 1.0)
    monkeypatch.setattr("serve.engines.triton.supervisor.VERSION_CHANGE_GRACE_S", 0.0)
    await asyncio.sleep(3)
    assert room._server.restarts > 0
