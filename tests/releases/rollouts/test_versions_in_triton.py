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
from serve.observability.metrics.processes import FaultFinder

pytestmark = pytest.mark.triton
X = {"x": np.ones((1, 4), np.float32)}


@pytest.fixture
async def engine_set(repository: Path) -> AsyncIterator[EngineSet]:
    opened = EngineSet(repository, [ENGINE])
    await opened.start()
    yield opened
    await opened.close()


async def factor(engine_set: EngineSet, version: str = "") -> float:
    """The factor of the version's multiplication; the current version by default."""
    async with engine_set.versions.using({ENGINE: version} if version else {}) as chosen:
        return float((await engine_set.client.infer(ENGINE, X, version=chosen[ENGINE]))["y"][0, 0])


async def test_lowest_version_is_served_by_default(engine_set: EngineSet) -> None:
    """D-091: copying a version into the repository does not serve it."""
    assert (await factor(engine_set), engine_set.versions.loaded(ENGINE)) == (1.0, ("1",))
    assert await EngineSetService(engine_set).versions() == {
        ENGINE: "1.0", f"{ENGINE}/": "1.0", f"{ENGINE}/1": "1.0", f"{ENGINE}/2": "2.0", f"{ENGINE}/3": "3.0",
        f"{ENGINE}/4": "4.0", f"{ENGINE}/5": "5.0", f"{ENGINE}/7": "1.0", f"{ENGINE}/8": "8.0",
    }  # fmt: skip


async def test_two_versions_run_side_by_side(engine_set: EngineSet) -> None:
    """D-083: a named version is loaded on demand; requests without a version use the current one."""
    assert [await factor(engine_set, version) for version in ("1", GOOD, "")] == [1.0, 2.0, 1.0]
    assert engine_set.versions.loaded(ENGINE) == ("1", "2")
    assert [engine_set.versions.label(ENGINE, version) for version in ("", "1", "2", "99")] == [
        "1.0",
        "1.0",
        "2.0",
        "unknown",
    ]
    assert (await EngineSetService(engine_set).metadata(ENGINE))["versions"] == ["2", "1"], (
        "the current one is listed last"
    )
    assert await engine_set.versions.retain(ENGINE, [GOOD, "1"]) == {}
    engine_set.versions.switch(ENGINE, GOOD)
    assert (await factor(engine_set), engine_set.versions.label(ENGINE)) == (2.0, "2.0")
    assert (await EngineSetService(engine_set).metadata(ENGINE))["versions"] == ["1", "2"]


async def test_failed_load_changes_nothing(engine_set: EngineSet) -> None:
    for version in (UNLOADABLE, "99"):
        with pytest.raises(EngineUnavailable, match=r"does not load|times/99 is not in the model repository"):
            await factor(engine_set, version)
    failures = await engine_set.versions.retain(ENGINE, [UNLOADABLE, GOOD])
    assert list(failures) == [UNLOADABLE]
    assert "/" not in failures[UNLOADABLE], "no path of the machine"
    assert (await factor(engine_set), engine_set.versions.loaded(ENGINE)) == (1.0, ("1", "2"))
    assert (await engine_set.health())[ENGINE].ready


async def test_repaired_version_is_tried_again(engine_set: EngineSet, repository: Path) -> None:
    with pytest.raises(EngineUnavailable):
        await factor(engine_set, UNLOADABLE)
    shutil.rmtree(repository / ENGINE / UNLOADABLE)
    write_version(repository, UNLOADABLE, model(5.0))
    with pytest.raises(EngineUnavailable):
        await factor(engine_set, UNLOADABLE)  # not retried so soon
    engine_set.versions.clear_failures(ENGINE)
    assert await factor(engine_set, UNLOADABLE) == 5.0


async def test_restart_loads_the_same_versions(engine_set: EngineSet) -> None:
    await engine_set.versions.retain(ENGINE, [GOOD, "1"])
    engine_set.versions.switch(ENGINE, GOOD)
    assert engine_set._server is not None
    os.kill(engine_set._server.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        while not engine_set._server.restarts or not (await engine_set.health())[ENGINE].ready:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert [await factor(engine_set), await factor(engine_set, "1")] == [2.0, 1.0]


async def test_unused_version_is_unloaded_after_its_last_request(
    engine_set: EngineSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running job keeps its first version."""
    monkeypatch.setattr(versions_module, "UNUSED_TTL_S", 0.0)
    await engine_set.versions.retain(ENGINE, ["1", GOOD])
    async with engine_set.versions.using({ENGINE: GOOD}):
        await engine_set.versions.retain(ENGINE, ["1"])
        assert engine_set.versions.loaded(ENGINE) == ("1", "2")
    await engine_set.versions.retain(ENGINE, ["1"])
    assert engine_set.versions.loaded(ENGINE) == ("1",)
    assert (await engine_set.client.metadata(ENGINE))["versions"] == ["1"]
    assert await factor(engine_set) == 1.0


async def test_number_of_loaded_versions_is_bounded(engine_set: EngineSet, repository: Path) -> None:
    for version in range(20, 24):
        write_version(repository, str(version), model(float(version)))
    for wanted in (GOOD, "20", "21"):
        await factor(engine_set, wanted)
    assert engine_set.versions.loaded(ENGINE) == ("1", GOOD, "20", "21")
    assert await factor(engine_set, "22") == 22.0
    assert engine_set.versions.loaded(ENGINE) == ("1", "20", "21", "22"), (
        "the one that was used the longest time ago went"
    )
    using = engine_set.versions.using
    async with using({ENGINE: "20"}), using({ENGINE: "21"}), using({ENGINE: "22"}):
        with pytest.raises(Overloaded):
            await factor(engine_set, "23")


async def test_loading_does_not_disturb_requests(engine_set: EngineSet) -> None:
    """While others are loaded, fail to load and are unloaded, the current version answers every request."""
    answers, ended = [], asyncio.Event()

    async def ask() -> None:
        while not ended.is_set():
            answers.append(await factor(engine_set))

    asking = [asyncio.create_task(ask()) for _ in range(4)]
    for wanted in ([GOOD], [GOOD, UNLOADABLE], [], [GOOD]):
        await engine_set.versions.retain(ENGINE, ["1", *wanted])
        await asyncio.sleep(0.1)
    ended.set()
    await asyncio.gather(*asking)
    assert len(answers) > 20
    assert set(answers) == {1.0}


async def test_stub_that_ends_with_its_version_is_no_fault(
    engine_set: EngineSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton notices the end of a stub late: for a moment it looks as if it had been killed."""
    monkeypatch.setattr(versions_module, "UNUSED_TTL_S", 0.0)
    monkeypatch.setattr("serve.engines.triton.supervisor.VERSION_CHANGE_GRACE_S", 600.0)
    monkeypatch.setattr("serve.observability.metrics.processes.state", lambda pid: "Z")
    looks: list[bool] = []
    find = FaultFinder.find

    def counted(self: FaultFinder, *, ended: bool = True) -> str | None:
        looks.append(ended)
        return find(self, ended=ended)

    monkeypatch.setattr(FaultFinder, "find", counted)
    assert engine_set._server is not None
    engine_set._server.set_versions(ENGINE, ["1"])
    await engine_set.versions.retain(ENGINE, ["1", GOOD])
    seen = len(looks)
    async with asyncio.timeout(60):
        while len(looks) < seen + 4:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (engine_set._server.restarts, await factor(engine_set)) == (0, 1.0)
    monkeypatch.setattr("serve.engines.triton.supervisor.VERSION_CHANGE_GRACE_S", 0.0)
    async with asyncio.timeout(60):
        while not engine_set._server.restarts:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert engine_set._server.restarts > 0
