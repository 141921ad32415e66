"""A1111's endpoints on a site that needs keys: Basic authentication, as A1111's clients send it, and separate state
for each user (A-071)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from keyed_door import KeyedSite, keyed_site
from sqlalchemy import select

from serve.state import State
from serve.state.tables import generations

API = "/sdapi/v1"
FOX = {"prompt": "a fox", "force_task_id": "task(a)", "steps": 8}


@pytest.fixture
async def site(state: State) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state) as opened:
        yield opened


async def signed_in(site: KeyedSite, user_id: str, role: str = "user") -> httpx.AsyncClient:
    """The user name of Basic authentication is ignored."""
    client = site.door()
    client.auth = httpx.BasicAuth("whoever", (await site.key(user_id, role)).secret)
    return client


async def test_request_without_key_returns_401(site: KeyedSite) -> None:
    async with site.door() as anonymous:
        for method, path in (("GET", f"{API}/options"), ("POST", f"{API}/txt2img"), ("POST", "/internal/progress")):
            answer = await anonymous.request(method, path, content=b"{}")
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == 'Basic realm="atelier"'
            assert answer.json().keys() == {"error", "detail", "body", "errors"}
        answer = await anonymous.get(f"{API}/options", auth=("ada", "wrong"))
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Basic realm="atelier"')


async def test_drawings_belong_to_the_user_of_the_key(site: KeyedSite, state: State) -> None:
    async with await signed_in(site, "ada") as ada:
        answer = await ada.post(f"{API}/txt2img", json=FOX)
        assert answer.status_code == 200, answer.text
        made = json.loads(answer.json()["info"])["generation_id"]
    async with state.database.read() as connection:
        assert await connection.scalar(select(generations.c.user_id).where(generations.c.id == made)) == "ada"


async def test_read_only_key_cannot_draw(site: KeyedSite) -> None:
    async with await signed_in(site, "eve", "read-only") as eve:
        assert (await eve.get(f"{API}/options")).status_code == 200
        answer = await eve.post(f"{API}/txt2img", json=FOX)
        assert (answer.status_code, answer.json()["error"]) == (403, "HTTPException")


async def test_progress_and_interrupt_are_separate_for_each_user(site: KeyedSite) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def halted(step: int) -> None:
        if step == 8:
            begun.set()
            await go_on.wait()

    site.illustrator._step = halted  # type: ignore[method-assign]
    async with await signed_in(site, "ada") as ada, await signed_in(site, "bob") as bob:
        drawing = asyncio.create_task(ada.post(f"{API}/txt2img", json=FOX))
        await begun.wait()
        mine, others = [(await client.get(f"{API}/progress")).json() for client in (ada, bob)]
        assert (mine["state"]["job"], mine["current_image"] is None) == ("task(a)", False)
        assert (others["state"]["job_count"], others["current_image"], others["progress"]) == (0, None, 0.0)
        body = (await bob.post("/internal/progress", json={"id_task": "task(a)"})).json()
        assert (body["active"], body["queued"], body["completed"], body["live_preview"]) == (False, False, False, None)
        for name in ("interrupt", "skip"):
            assert (await bob.post(f"{API}/{name}")).status_code == 200
        go_on.set()
        assert (await drawing).status_code == 200
        body = [(await client.post("/internal/progress", json={"id_task": "task(a)"})).json() for client in (ada, bob)]
        assert [one["completed"] for one in body] == [True, False]


async def test_options_are_separate_for_each_user(site: KeyedSite) -> None:
    async with await signed_in(site, "ada") as ada, await signed_in(site, "bob") as bob:
        await ada.post(f"{API}/options", json={"sd_model_checkpoint": "turbo"})
        found = [(await client.get(f"{API}/options")).json()["sd_model_checkpoint"] for client in (ada, bob)]
    assert found == ["turbo", "mini"]
