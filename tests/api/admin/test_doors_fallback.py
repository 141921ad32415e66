"""Every endpoint reports the model that served a request, and admins see and change the fallback (A-100 to A-102)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from illustrator_standin import IllustratorStandIn
from jobs_standin import with_settings
from keyed_door import KeyedSite
from pydantic import SecretStr
from standin import StandIn

from serve.api.app import create_app
from serve.api.middleware.authentication import Authentication, AuthenticationMiddleware
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.requests import IllustrateRequest
from serve.errors import EngineLost
from serve.jobs.direct.service import Caller, DirectService
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.worker import Worker
from serve.releases.fallback.illustrator import FallbackIllustrator, with_fallback
from serve.releases.flags import Flag, is_on
from serve.security.identity.audit import Actor
from serve.security.signing.secret_store import SecretStore
from serve.settings import AccessSettings, ExperimentSettings, FallbackSettings, FlagSettings
from serve.state import State
from serve.state.tables import audit, cache, generations

sys.path.insert(0, str(Path(__file__).parents[2] / "releases" / "fallback"))  # the remote services exist
from outside import KEY, Service, openai_answers, openai_step

QUICK = {"poll_s": 0.01, "beat_s": 0.05, "lease_s": 0.5, "progress_s": 0.0, "retry_s": 0.01}
HEADER = "x-atelier-served-by"


class OneBroken(IllustratorStandIn):
    """Its model ``mini`` fails while ``is_broken``."""

    is_broken = True

    async def draw(self, options: IllustrateOptions) -> Illustration:
        if self.is_broken and options.model in (None, "mini"):
            raise EngineLost("gone")
        return await super().draw(options)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service(openai_answers()).listening() as service:
        yield service


@pytest.fixture
def primary() -> IllustratorStandIn:
    return IllustratorStandIn()


@pytest.fixture
async def site(state: State, service: Service) -> State:
    """A site with a sealed key and a flag that selects the users of the Illustrator."""
    step = openai_step(service.url, api_key=None, secret="cloud")
    settings = with_settings(state.settings, jobs=QUICK).model_copy(
        update={
            "fallback": FallbackSettings(steps=[step], flag="own"),  # type: ignore[list-item]
            "flags": {"own": FlagSettings()},
            "experiments": {"steps": ExperimentSettings(arms={"a": {}, "b": {}})},  # type: ignore[dict-item]
            "access": AccessSettings(required="on"),
        }
    )
    await SecretStore(state).set("cloud", SecretStr(KEY), Actor())
    return replace(state, settings=settings)


@pytest.fixture
async def door(site: State, primary: IllustratorStandIn) -> AsyncIterator[KeyedSite]:
    draws = with_fallback(primary, site)
    entrance, direct = await Authentication.opened(site), DirectService(site, draws, StandIn(), site.settings)
    app = create_app(StandIn(), site.settings, illustrator=draws, state=site, direct=direct, entrance=entrance)
    yield KeyedSite(app, AuthenticationMiddleware(app, lambda: entrance), site, entrance, primary)
    await direct.close()
    await entrance.close()


@pytest.fixture
async def client(door: KeyedSite) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an admin, which may act for other users."""
    async with door.door((await door.key("root", "admin")).secret) as opened:
        yield opened


DOORS: list[tuple[str, dict[str, Any], str]] = [
    ("/generate", {"prompt": "a fox", "user_id": "ada", "seed": 7}, "served_by"),
    ("/api/illustrations/generate", {"prompt": "a fox", "userId": "ada", "seed": 7}, "servedBy"),
    ("/api/diffusion/generate", {"prompt": "a fox", "seed": 7}, "served_by"),
]


@pytest.mark.parametrize(("path", "body", "name"), DOORS)
async def test_every_endpoint_reports_the_serving_model(
    client: httpx.AsyncClient, primary: IllustratorStandIn, service: Service, path: str, body: dict[str, Any], name: str
) -> None:
    answer = await client.post(path, json=body)
    assert (answer.status_code, answer.headers[HEADER]) == (200, "illustrate")
    assert answer.json()["metadata"][name] == "illustrate"
    primary.failure = EngineLost("gone")
    answer = await client.post(path, json={**body, "seed": 8})
    assert (answer.status_code, answer.headers[HEADER]) == (200, "fallback:openai:cloud")
    assert answer.json()["metadata"][name] == "fallback:openai:cloud"
    assert service.requests[0][1]["authorization"] == f"Bearer {KEY}"
    assert service.requests[0][2]["size"] == "64x64", "the default size of the unavailable model"


async def test_openai_endpoint_plain_and_streamed(client: httpx.AsyncClient, primary: IllustratorStandIn) -> None:
    primary.failure = EngineLost("gone")
    body = {"prompt": "a fox", "size": "64x64", "seed": 7}
    answer = await client.post("/v1/images/generations", json=body)
    assert answer.headers[HEADER] == "fallback:openai:cloud"
    assert answer.json()["atelier"]["served_by"] == "fallback:openai:cloud"
    streamed = await client.post("/v1/images/generations", json={**body, "stream": True, "partial_images": 1})
    events = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: {")]
    assert [event["type"] for event in events] == ["image_generation.completed"]
    assert events[0]["atelier"]["served_by"] == "fallback:openai:cloud"


async def test_fallback_result_is_recorded_and_not_cached(
    client: httpx.AsyncClient, primary: IllustratorStandIn, site: State
) -> None:
    """The Illustrator serves the same request again as soon as it is available."""
    body = {"prompt": "a fox", "user_id": "ada", "seed": 7}
    primary.failure = EngineLost("gone")
    await client.post("/generate", json=body)
    async with site.database.read() as connection:
        row = (await connection.execute(sa.select(generations))).one()
        assert (await connection.execute(sa.select(cache))).all() == []
    assert (row.status, row.details["served_by"]) == ("completed", "fallback:openai:cloud")
    assert (row.model, row.details["parameters"]["sampler"]) == ("dall-e-2", "")
    primary.failure = None
    again = await client.post("/generate", json=body)
    assert (again.headers[HEADER], again.headers["x-atelier-cache"]) == ("illustrate", "miss")


async def test_drawing_of_a_fallback_model_is_not_cached(state: State) -> None:
    primary, turbo = OneBroken(), FallbackSettings(steps=[{"kind": "model", "model": "turbo"}])  # type: ignore[list-item]
    site = replace(state, settings=state.settings.model_copy(update={"fallback": turbo}))
    direct = DirectService(site, with_fallback(primary, site), StandIn(), site.settings)
    request = IllustrateRequest(IllustrateOptions("a fox", seed=7))
    drawn = await direct.draw(request, Caller("ada"))
    assert (drawn.cache, drawn.details["served_by"]) == ("miss", "fallback:model:turbo")
    primary.is_broken = False
    for word in ("miss", "hit"):
        again = await direct.draw(request, Caller("ada"))
        assert (again.cache, again.details["served_by"]) == (word, "illustrate")
    await direct.close()


async def test_jobs_report_the_serving_model(
    client: httpx.AsyncClient, primary: IllustratorStandIn, site: State
) -> None:
    primary.failure, primary.fails_after = EngineLost("gone"), 3
    worker = Worker(site, JobExecutor(site, StandIn(), with_fallback(primary, site)))
    await worker.start()
    body = {"kind": "illustrate", "input": {"prompt": "a fox"}, "user_id": "ada"}
    url = f"/v1/jobs/{(await client.post('/v1/jobs', json=body)).json()['id']}"
    async with asyncio.timeout(60):
        while (job := (await client.get(url)).json())["status"] != "completed":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await worker.close()
    assert job["details"]["served_by"] == "fallback:openai:cloud"
    assert (await client.get(f"{url}/result")).json()["details"]["served_by"] == "fallback:openai:cloud"
    assert job["attempt"] == 1
    picture = await client.get(job["results"][0]["url"])
    assert picture.content.startswith(b"\x89PNG")


async def test_flag_percentage_selects_users(client: httpx.AsyncClient, site: State, service: Service) -> None:
    """A-101: the other users get the remote service until the percentage is 100; the service stays an option after
    that."""
    changed = await client.put("/api/admin/flags/own", json={"percentage": 50, "users": ["user-1"]})
    flag = Flag("own", True, 50, frozenset(["user-1"]))
    assert changed.json() == {"name": "own", "enabled": True, "percentage": 50, "users": ["user-1"]}
    served = {}
    for place in range(12):
        user = f"user-{place}"
        answer = await client.post("/generate", json={"prompt": "a fox", "user_id": user, "seed": place})
        served[user] = answer.headers[HEADER]
    expected = {user: "illustrate" if is_on(flag, user) else "fallback:openai:cloud" for user in served}
    assert served == expected
    assert set(served.values()) == {"illustrate", "fallback:openai:cloud"}


async def test_open_inference_endpoint_applies_the_flag(client: httpx.AsyncClient, door: KeyedSite) -> None:
    await client.put("/api/admin/flags/own", json={"percentage": 0, "users": ["ada"]})
    served = {}
    for user in ("ada", "bob"):
        async with door.door((await door.key(user)).secret) as own:
            answer = await own.post("/v2/models/illustrate/generate", json={"prompt": "a fox", "seed": 7})
        served[user] = json.loads(answer.json()["metadata"])["served_by"]
    assert served == {"ada": "illustrate", "bob": "fallback:openai:cloud"}


async def test_failing_remote_service_falls_back_to_the_illustrator(
    client: httpx.AsyncClient, service: Service
) -> None:
    service.answer = openai_answers("***")
    await client.put("/api/admin/flags/own", json={"enabled": False})
    answer = await client.post("/generate", json={"prompt": "a fox", "user_id": "ada", "seed": 7})
    assert answer.headers[HEADER] == "illustrate"
    assert len(service.requests) == 1


async def test_breaker_states_are_reported(client: httpx.AsyncClient, primary: IllustratorStandIn) -> None:
    primary.failure = EngineLost("gone")
    for seed in range(6):
        await client.post("/generate", json={"prompt": "a fox", "user_id": "ada", "seed": seed})
    report = (await client.get("/api/admin/fallback")).json()
    assert [(one["name"], one["state"]) for one in report["chain"]] == [
        ("illustrate", "open"), ("fallback:openai:cloud", "closed"),
    ]  # fmt: skip
    assert 0 < report["chain"][0]["wait_s"] <= 15
    assert (report["chain"][1]["ended"], report["chain"][1]["failed"]) == (6, 0)
    assert KEY not in json.dumps(report)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/admin/fallback"), ("GET", "/api/admin/flags"), ("PUT", "/api/admin/flags/own"),
        ("DELETE", "/api/admin/flags/own"), ("GET", "/api/admin/experiments/steps"),
        ("GET", "/api/admin/experiments"),
    ],
)  # fmt: skip
async def test_admin_routes_are_refused_without_the_admin_role(door: KeyedSite, method: str, path: str) -> None:
    async with door.door() as anonymous, door.door((await door.key("ada")).secret) as user:
        assert (await anonymous.request(method, path)).status_code == 401
        assert (await user.request(method, path)).status_code == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"percentage": 101}, "percentage"), ({"percentage": "50"}, "percentage"), ({"percentage": True}, "percentage"),
        ({"enabled": 1}, "enabled"), ({"users": "ada"}, "users"), ({"users": [""]}, "users"), ({"users": [7]}, "users"),
        ({"users": ["x"] * 1001}, "users"), ({"percent": 5}, "percent"),
    ],
)  # fmt: skip
async def test_invalid_flags_are_refused(client: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    answer = await client.put("/api/admin/flags/own", json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_flag_changes_are_in_the_audit_log(client: httpx.AsyncClient, site: State) -> None:
    await client.put("/api/admin/flags/own", json={"percentage": 10})
    assert (await client.get("/api/admin/flags")).json()["flags"][0]["percentage"] == 10
    assert (await client.delete("/api/admin/flags/own")).json()["percentage"] == 100
    assert (await client.put("/api/admin/flags/none", json={})).status_code == 404
    assert (await client.put("/api/admin/flags/A%2F..", json={})).status_code in (400, 404, 422)
    async with site.database.read() as connection:
        which = sa.select(audit.c.action, audit.c.user_id, audit.c.subject).where(audit.c.action.like("flag.%"))
        rows = (await connection.execute(which.order_by(audit.c.seq))).all()
    assert [tuple(row) for row in rows] == [("flag.change", "root", "own"), ("flag.reset", "root", "own")]


async def test_experiment_report(client: httpx.AsyncClient) -> None:
    await client.post("/generate", json={"prompt": "a fox", "user_id": "ada", "seed": 7})
    found = (await client.get("/api/admin/experiments/steps")).json()
    assert sum(arm["generations"] for arm in found["arms"]) == 1
    assert found["difference"] is None
    assert found["note"].startswith("not enough yet")
    assert (await client.get("/api/admin/experiments")).json() == {"experiments": [found]}
    assert (await client.get("/api/admin/experiments/none")).status_code == 404


async def test_chain_without_fallbacks_is_the_illustrator(state: State, primary: IllustratorStandIn) -> None:
    draws = with_fallback(primary, state)
    assert isinstance(draws, FallbackIllustrator)
    assert list(draws.breakers) == ["illustrate"]
    with contextlib.suppress(EngineLost):
        primary.failure = EngineLost("gone")
        await draws.families()
    assert (await draws.versions()) == {"mini_unet": "1", "turbo_unet": "1"}
