"""The routes for who runs the site are closed, or ask for a token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from standin import StandIn

from serve.api.app import create_app
from serve.settings import AdminSettings, Settings
from serve.state import State
from serve.state.quality import GenerationMetrics, MetricsCollector

TOKEN = "correct horse"


async def client_of(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    state = await State.open(settings)
    async with state.database.write() as connection:
        await MetricsCollector(state.database).record_generation(
            connection, GenerationMetrics("g1", "ada", "a fox", 2.5, True, model_used="mini")
        )
    app = create_app(StandIn(), settings, state=state)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as opened:
        yield opened
    await state.close()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async for opened in client_of(Settings(state_dir=tmp_path, admin=AdminSettings(token=SecretStr(TOKEN)))):
        yield opened


@pytest.mark.parametrize("token", [None, ""])
async def test_without_a_token_nobody_may(tmp_path: Path, token: str | None) -> None:
    secret = None if token is None else SecretStr(token)
    async for client in client_of(Settings(state_dir=tmp_path, admin=AdminSettings(token=secret))):
        answer = await client.get("/api/admin/quality", headers={"Authorization": "Bearer "})
        assert answer.status_code == 403
        assert "admin.token" in answer.json()["detail"]


@pytest.mark.parametrize("given", [None, "", TOKEN, f"Bearer {TOKEN}x", "Bearer", f"Basic {TOKEN}", "Bearer \xe4"])
async def test_a_wrong_token_is_refused(client: httpx.AsyncClient, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    answer = await client.get("/api/admin/quality", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["type"] == "urn:atelier:problem:unauthorized"
    assert TOKEN not in answer.text


async def test_quality(client: httpx.AsyncClient) -> None:
    """A-091."""
    headers = {"Authorization": f"bearer {TOKEN}"}
    told = (await client.get("/api/admin/quality?range=24h", headers=headers)).json()
    assert (told["range"], told["total"], told["success_rate"], told["p95_generation_time_s"]) == ("24h", 1, 1.0, 2.5)
    assert (await client.get("/api/admin/quality", headers=headers)).json()["range"] == "7d"
    wrong = await client.get("/api/admin/quality?range=ever", headers=headers)
    assert (wrong.status_code, wrong.json()["field"]) == (400, "range")
