"""What all guards add to a request: the same application with everything before it and with nothing, asked in turn."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from PIL import Image

from loadtests.queue.databases import settings_at
from loadtests.vectorize.table import markdown
from serve.api.app import answer, create_app
from serve.api.middleware.admission import Admission
from serve.api.middleware.authentication import Authentication, AuthenticationMiddleware
from serve.api.middleware.client_address import ClientAddress
from serve.api.middleware.response_headers import RequestId, ScrubHeaders
from serve.errors import EngineUnavailable
from serve.security.identity.audit import Actor
from serve.settings import Settings
from serve.state import State

GOAL_MS = 1.5
_QUIET = {"address_requests": 1_000_000_000, "user_requests": 1_000_000_000, "loopback": True}


@dataclass(frozen=True)
class Added:
    """Medians over ``pairs`` of one request without guards and one with them."""

    store: str
    what: str
    pairs: int
    bare_ms: float
    guarded_ms: float
    added_ms: float
    added_p95_ms: float


class _Nobody:
    """In place of ensembles: what is asked for is in the database."""

    def __getattr__(self, name: str) -> Any:
        async def away(*_: Any) -> Any:
            raise EngineUnavailable("there are no ensembles here")

        return away


async def added(store: str, url: str, folder: Path, pairs: int) -> list[Added]:
    settings = settings_at(url, folder).model_copy(
        update={
            "access": Settings().access.model_copy(update={"required": "on"}),
            "rates": Settings().rates.model_copy(update=_QUIET),
        }
    )
    state = await State.open(settings)
    entrance = await Authentication.opened(state)
    key = (await entrance.gate.keys.create("ada", Actor(), role="user")).secret
    nobody: Any = _Nobody()
    bare = create_app(nobody, settings, state=state)
    guarded: Any = create_app(nobody, settings, state=state, entrance=entrance)
    before = AuthenticationMiddleware(Admission(guarded, settings.limits, settings.gateway, answer), lambda: entrance)
    whole: Any = ClientAddress(ScrubHeaders(RequestId(before)), settings)
    async with _listening(bare) as plain, _listening(whole) as kept:
        found = await _compared(store, plain, kept, key, pairs)
    await entrance.close()
    await state.close()
    return found


async def _compared(store: str, plain: str, kept: str, key: str, pairs: int) -> list[Added]:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        httpx.AsyncClient(base_url=plain, headers=headers) as bare,
        httpx.AsyncClient(base_url=kept, headers=headers) as guarded,
    ):
        job = {"kind": "vectorize", "input": {"image": _picture()}, "user_id": "ada"}
        made = (await guarded.post("/v1/jobs", json=job)).raise_for_status().json()["id"]
        cases: Sequence[tuple[str, str, str, Any, int]] = (
            ("who asks", "GET", "/v1/me", None, pairs),
            ("status of a job", "GET", f"/v1/jobs/{made}/status", None, pairs),
            ("one more job, with its picture", "POST", "/v1/jobs", job, max(50, pairs // 5)),
        )
        return [
            await _case(store, what, (bare, guarded), (method, path, body), n) for what, method, path, body, n in cases
        ]


async def _case(
    store: str, what: str, clients: Sequence[httpx.AsyncClient], call: tuple[str, str, Any], pairs: int
) -> Added:
    method, path, body = call
    taken_ms = np.empty((pairs, 2))
    for pair in range(-20, pairs):  # the first ones warm up
        for which in (0, 1) if pair % 2 else (1, 0):
            began = time.perf_counter()
            (await clients[which].request(method, path, json=body)).raise_for_status()
            if pair >= 0:
                taken_ms[pair, which] = 1e3 * (time.perf_counter() - began)
    bare, guarded = np.median(taken_ms, axis=0)
    p95 = np.quantile(taken_ms, 0.95, axis=0)
    return Added(store, what, pairs, float(bare), float(guarded), float(guarded - bare), float(p95[1] - p95[0]))


def added_table(found: Sequence[Added]) -> str:
    header = ["counts in", "request", "pairs", "p50 without, ms", "p50 with, ms", f"added to p50, ms (goal {GOAL_MS})",
              "added to p95, ms"]  # fmt: skip
    cells = [
        [one.store, one.what, str(one.pairs), f"{one.bare_ms:.2f}", f"{one.guarded_ms:.2f}", f"{one.added_ms:.2f}",
         f"{one.added_p95_ms:.2f}"]
        for one in found
    ]  # fmt: skip
    return markdown(header, cells)


@contextlib.asynccontextmanager
async def _listening(app: Any) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


def _picture() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
