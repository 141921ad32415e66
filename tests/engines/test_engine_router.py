"""The engines of several ensembles behind one interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from serve.engines.service import EngineHealth, EngineRouter, Health
from serve.errors import EngineUnavailable, NotFound
from tests.fakes import FakeEngines


class Ensemble(FakeEngines):
    """``away`` is the error that every call raises; ``listed`` counts the calls of ``engines``."""

    away: EngineUnavailable | None = None
    listed = 0

    async def engines(self) -> list[str]:
        self.listed += 1
        self._check()
        return await super().engines()

    async def health(self) -> Health:
        self._check()
        return Health({name: EngineHealth(True, 1.0, "1") for name in self.answers})

    async def infer(self, engine: str, inputs: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        self._check()
        return await super().infer(engine, inputs, **options)

    def _check(self) -> None:
        if self.away is not None:
            raise self.away


@pytest.fixture
def one() -> Ensemble:
    return Ensemble({"a": {"y": np.zeros(1)}})


@pytest.fixture
def two() -> Ensemble:
    return Ensemble({"b": {"y": np.ones(1)}, "c": {"y": np.ones(1)}})


async def test_request_is_routed_to_the_engines_ensemble(one: Ensemble, two: Ensemble) -> None:
    board = EngineRouter([one, two])
    assert await board.engines() == ["a", "b", "c"]
    assert (await board.infer("b", {}))["y"].tolist() == [1]
    for document in (
        await board.metadata("c"),
        await board.config("c"),
        (await board.statistics("c"))["model_stats"][0],
    ):
        assert document["name"] == "c"
    assert two.calls
    assert not one.calls


async def test_engine_list_is_read_once(one: Ensemble, two: Ensemble) -> None:
    board = EngineRouter([one, two])
    for _ in range(3):
        await board.infer("a", {})
        await board.infer("b", {})
    assert (one.listed, two.listed) == (1, 1)


async def test_unknown_engine_is_not_found(one: Ensemble, two: Ensemble) -> None:
    with pytest.raises(NotFound, match="'z'"):
        await EngineRouter([one, two]).metadata("z")


async def test_unavailable_ensemble_does_not_affect_the_other(one: Ensemble, two: Ensemble) -> None:
    board = EngineRouter([one, two])
    two.away = EngineUnavailable("restarting")
    assert (await board.infer("a", {}))["y"].tolist() == [0]
    with pytest.raises(EngineUnavailable, match="restarting"):
        await board.infer("b", {})


async def test_health_covers_all_ensembles(one: Ensemble, two: Ensemble) -> None:
    board = EngineRouter([one, two])
    assert (await board.health()).ready
    two.away = EngineUnavailable("restarting")
    health = await board.health()
    assert not health.ready
    assert {name: engine.ready for name, engine in health.engines.items()} == {"a": True, "b": False, "c": False}
    assert health.engines["b"].reason == "restarting"
    with pytest.raises(EngineUnavailable):  # its engines were never listed
        await EngineRouter([one, two]).health()
