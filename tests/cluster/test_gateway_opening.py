"""What a gateway has opened is closed when a later step of its start fails, and when it closes."""

from __future__ import annotations

from typing import Any

import pytest

from serve.api.middleware import authentication
from serve.api.middleware.admission import process_hot_route
from serve.cluster import gateway
from serve.errors import StateUnavailable
from serve.jobs.direct.service import DirectService
from serve.settings import Settings
from serve.state import State

pytestmark = pytest.mark.ray


class Handle:
    """Of a deployment that nobody calls."""

    def options(self, **_options: Any) -> Handle:
        return self


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    for kind in (State, DirectService, authentication.Authentication):
        close = kind.close  # type: ignore[attr-defined]

        async def record(self: Any, close: Any = close, name: str = kind.__name__) -> None:
            names.append(name)
            await close(self)

        monkeypatch.setattr(kind, "close", record)
    return names


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("with_fallback", ["State"]),
        ("Models", ["Authentication", "DirectService", "State"]),
        ("HotInference", ["Authentication", "DirectService", "State"]),
    ],
)
async def test_start_that_fails_closes_what_it_opened(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, closed: list[str], step: str, expected: list[str]
) -> None:
    def fail(*_arguments: Any) -> Any:
        raise StateUnavailable("gone")

    monkeypatch.setattr(gateway, step, fail)
    handle: Any = Handle()
    with pytest.raises(StateUnavailable):
        await gateway.GatewayServicer.open(handle, handle, settings)
    assert closed == expected


async def test_gateway_closes_all(settings: Settings, closed: list[str]) -> None:
    handle: Any = Handle()
    servicer = await gateway.GatewayServicer.open(handle, handle, settings)
    assert not closed
    await servicer.close()
    assert closed == ["Authentication", "DirectService", "State"]


async def test_gateway_serves_conversions_before_the_application(settings: Settings, closed: list[str]) -> None:
    handle: Any = Handle()
    servicer = await gateway.GatewayServicer.open(handle, handle, settings)
    try:
        servicer.build_app()
        routes = process_hot_route()
        assert routes is not None
        for path in ("/api/convert", "/api/convert-ai"):
            assert routes.match({"type": "http", "method": "POST", "path": path, "headers": []}).route == path
        assert routes.match({"type": "http", "method": "POST", "path": "/api/analyze-image", "headers": []}) is None
    finally:
        await servicer.close()
    assert process_hot_route() is None
