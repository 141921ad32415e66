"""Admin routes are for keys with the admin role."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from keyed_door import KeyedSite, keyed_site

from serve.state import State
from serve.state.quality import GenerationMetrics, MetricsCollector


@pytest.fixture
async def site(state: State) -> AsyncIterator[KeyedSite]:
    async with state.database.write() as connection:
        await MetricsCollector(state.database).record_generation(
            connection, GenerationMetrics("g1", "ada", "a fox", 2.5, True, model_used="mini")
        )
    async with keyed_site(state) as opened:
        yield opened


async def test_admin_routes_are_forbidden_for_users(site: KeyedSite) -> None:
    for role in ("user", "read-only"):
        async with site.door((await site.key(role, role)).secret) as client:
            answer = await client.get("/api/admin/quality")
            assert answer.status_code == 403
            assert answer.json()["type"] == "urn:atelier:problem:forbidden"


async def test_quality_report(admin: httpx.AsyncClient) -> None:
    """A-091."""
    report = (await admin.get("/api/admin/quality?range=24h")).json()
    assert (report["range"], report["total"], report["success_rate"], report["p95_generation_time_s"]) == (
        "24h",
        1,
        1.0,
        2.5,
    )
    assert (await admin.get("/api/admin/quality")).json()["range"] == "7d"
    wrong = await admin.get("/api/admin/quality?range=ever")
    assert (wrong.status_code, wrong.json()["field"]) == (400, "range")
