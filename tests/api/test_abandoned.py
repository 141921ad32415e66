"""With a state: a drawing that OpenAI's client abandons continues for `jobs.abandoned_s`; every other request ends
with its client (D-052)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from hops.hop import Hop
from hops.loop_doors import is_late, loop_doors
from jobs_standin import with_settings
from standin import StandIn
from waiting import until

from serve.state import State

OPENAI = "/v1/images/generations"
STEPS, FEWEST = 1000, 150
"""Numbers of steps of a drawing; A1111 accepts at most 150."""
DRAWN = {"prompt": "red apple", "steps": STEPS}
STREAMED = {**DRAWN, "stream": True, "partial_images": 1}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "native": ("/generate", {**DRAWN, "user_id": "ada"}),
    "illustrations": ("/api/illustrations/generate", {**DRAWN, "userId": "ada"}),
    "diffusion": ("/api/diffusion/generate", DRAWN),
    "openai stream": (OPENAI, STREAMED),
    "a1111": ("/sdapi/v1/txt2img", {"prompt": "red apple", "steps": FEWEST}),
    "kserve": ("/v2/models/illustrate/generate", {"prompt": "red apple", "num_inference_steps": STEPS}),
}
SHORT_S, LONG_S = 1.0, 60.0


@dataclass
class Doors:
    hop: Hop
    http: httpx.AsyncClient

    async def leave(self, path: str, body: dict[str, Any]) -> float:
        """Disconnects during the drawing. Returns the time of that, as of ``monotonic``."""
        pending = asyncio.create_task(self.http.post(path, json=body))
        await self.hop.begun()
        left = time.monotonic()
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
        return left

    async def ends(self) -> None:
        """The drawing ends long before its last step."""
        await until(lambda: self.hop.queue.size == 0, 60)
        assert await self.hop.stands_still()
        assert self.hop.engines.steps < FEWEST


@pytest.fixture
async def doors(state: State, tmp_path: Path, abandoned_s: float) -> AsyncIterator[Doors]:
    hop, settings = Hop(tmp_path), with_settings(state.settings, jobs={"abandoned_s": abandoned_s})
    async with loop_doors(StandIn(), hop, State(state.database, state.objects, settings)) as (http, _):
        yield Doors(hop, http)


@pytest.mark.parametrize("abandoned_s", [SHORT_S])
async def test_openai_drawing_continues_for_abandoned_s_after_disconnect(doors: Doors, abandoned_s: float) -> None:
    left = await doors.leave(OPENAI, DRAWN)
    assert doors.hop.queue.size == 1
    await doors.ends()
    assert time.monotonic() - left >= abandoned_s
    answer = await doors.http.post(OPENAI, json={**DRAWN, "steps": 1})
    assert answer.status_code == 200


@pytest.mark.parametrize("abandoned_s", [LONG_S])
@pytest.mark.parametrize("door", OTHERS)
async def test_other_requests_end_at_disconnect(doors: Doors, door: str) -> None:
    """Includes streams: a retry could not join one."""
    await doors.leave(*OTHERS[door])
    await doors.ends()


@pytest.mark.parametrize("abandoned_s", [LONG_S])
@pytest.mark.parametrize("body", [DRAWN, STREAMED], ids=["at once", "stream"])
async def test_deadline_is_not_extended(doors: Doors, body: dict[str, Any]) -> None:
    assert is_late(await doors.http.post(OPENAI, json=body, headers={"X-Request-Timeout": "0.8"}))
    await doors.ends()
