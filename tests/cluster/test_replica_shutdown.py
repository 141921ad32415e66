"""Replicas close what they opened when Ray Serve ends them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from serve.cluster import replicas
from serve.cluster.gateway import GatewayServicer

pytestmark = pytest.mark.ray


class Closable:
    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas.export, "stop", lambda: None)


async def end(kind: type[Any], attributes: dict[str, Closable]) -> None:
    """Runs the class's destructor on an instance whose constructor only set ``attributes``."""
    instance = type("Opened", (kind,), {"__init__": lambda self: None, "__del__": lambda self: None})()
    for name, value in attributes.items():
        setattr(instance, name, value)
    await kind.__del__(instance)


def opened_by(kind: type[Any], *methods: str) -> set[str]:
    """The attributes with a `close` that the class sets in ``methods``."""
    names = [name for method in methods for name in getattr(kind, method).__code__.co_names]
    return {name for name in names if name.startswith("_")}


async def test_gateway_closes_its_servicer() -> None:
    """Which closes what it opened, the last first."""
    assert "_servicer" in opened_by(replicas.Gateway, "__init__")
    parts = {"_servicer": Closable()}
    await end(replicas.Gateway, parts)
    assert parts["_servicer"].closed
    closed: list[str] = []
    servicer = GatewayServicer.__new__(GatewayServicer)
    servicer._closing = contextlib.AsyncExitStack()
    for name in ("state", "direct", "authentication"):
        servicer._closing.callback(closed.append, name)
    await servicer.close()
    assert closed == ["authentication", "direct", "state"]


async def test_ensemble_replica_closes_reconciler_and_ensemble() -> None:
    parts = {name: Closable() for name in ("_reconciler", "_ensemble")}
    assert "_reconciler" in opened_by(replicas.Replica, "_begin")
    await end(replicas.Replica, parts)
    assert all(part.closed for part in parts.values())


async def test_ensemble_replica_finishes_its_calls_before_its_ensemble_closes() -> None:
    closed: list[str] = []

    class Part:
        def __init__(self, name: str) -> None:
            self._name = name

        async def close(self, *_: float) -> None:
            closed.append(self._name)

    assert "_calls" in opened_by(replicas.Replica, "_begin")
    await end(replicas.Replica, {name: Part(name) for name in ("_ensemble", "_calls", "_reconciler")})  # type: ignore[misc]
    assert closed == ["_calls", "_reconciler", "_ensemble"]
