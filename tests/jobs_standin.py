"""The queue's endpoints around stand-ins, and a worker that a test advances step by step."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
from fastapi import FastAPI
from illustrator_standin import IllustratorStandIn
from standin import StandIn

from serve.api.app import create_app
from serve.api.jobs import JobServices
from serve.ensembles.illustrator.service import IllustratorService
from serve.ensembles.requests import File, Outcome
from serve.jobs.records import object_store_items
from serve.jobs.worker.claims import ClaimedJob
from serve.jobs.worker.leases import Leases
from serve.settings import Settings
from serve.state import State

PICTURE = File(b"a picture", "image/png", 8, 8, 7)


def with_settings(settings: Settings, **sections: Mapping[str, Any]) -> Settings:
    """``sections`` maps a section name to the settings that differ."""
    changed = {name: getattr(settings, name).model_copy(update=dict(values)) for name, values in sections.items()}
    return settings.model_copy(update=changed)


def application(
    settings: Settings, illustrator: IllustratorService | None = None, *, with_state: bool = True
) -> FastAPI:
    """Opens a state in the server's event loop, as every process does."""

    @contextlib.asynccontextmanager
    async def opened(app: FastAPI) -> AsyncIterator[None]:
        state = await State.open(settings)
        install(app, state)
        yield
        await state.close()

    app = create_app(StandIn(), settings, illustrator=illustrator or IllustratorStandIn())
    if with_state:
        app.router.lifespan_context = opened
    return app


def install(app: FastAPI, state: State) -> None:
    app.state.state = state
    app.state.jobs = JobServices(state)


@contextlib.asynccontextmanager
async def door_of(state: State, illustrator: IllustratorService | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client over an in-memory transport."""
    app = application(state.settings, illustrator)
    install(app, state)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60) as client:
        yield client


class Hand:
    """A worker without a loop of its own: a test calls its steps."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.leases = Leases(state, {"illustrate": 4, "vectorize": 2})

    @classmethod
    async def of(cls, state: State) -> Hand:
        hand = cls(state)
        await hand.leases.register()
        return hand

    async def claim(self, lane: str = "illustrate", most: int = 1) -> list[ClaimedJob]:
        return await self.leases.claim(lane, most)

    async def show(self, job: ClaimedJob, step: int, steps: int = 8, preview: bytes | None = None) -> None:
        """Reports ``step`` of a job, with a checkpoint and optionally a preview."""
        stage: dict[str, Any] = {"step": step, "steps": steps}
        if preview is not None:
            stage["preview"] = (await self.state.objects.put(preview, "image/webp")).name
        kind = "progress" if preview is None else "preview"
        await self.leases.report(job, kind, stage, step / steps, {0: (step, b"latents")})

    async def complete(self, job: ClaimedJob, *files: File) -> None:
        outcome = Outcome(files or [PICTURE], {"tokens": 3}, "mini", 0.5)
        await self.leases.complete(job, outcome, await self.state.objects.put_all(object_store_items(outcome.files)))

    async def do_all(self, lane: str = "illustrate") -> None:
        while claimed := await self.claim(lane):
            for place, job in enumerate(claimed):
                await self.complete(job, replace(PICTURE, data=f"{job.id} {place}".encode()))


def fold_events(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """State of a job, computed from its events alone."""
    state: dict[str, Any] = {"error": None}
    for event in events:
        state |= {name: event["data"].get(name) for name in STATE_MEMBERS}
        state["last_event"] = event["id"]
        if event["event"] == "failed":
            state["error"] = event["data"]["error"]
    return state


STATE_MEMBERS = ("status", "progress", "attempt", "step", "steps", "preview_url")


def polled_state(job: Mapping[str, Any]) -> dict[str, Any]:
    """The same members of the polled job."""
    return {name: job[name] for name in (*STATE_MEMBERS, "error", "last_event")}
