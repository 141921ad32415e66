"""The doors of the queue around stand-ins, and a worker that a test moves along step by step."""

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
from serve.ensembles.illustrator.illustration import IllustratorService
from serve.ensembles.requests import File, Outcome
from serve.jobs.records import object_store_items
from serve.jobs.worker.claims import ClaimedJob
from serve.jobs.worker.leases import Leases
from serve.settings import Settings
from serve.state import State

PICTURE = File(b"a picture", "image/png", 8, 8, 7)


def with_settings(settings: Settings, **sections: Mapping[str, Any]) -> Settings:
    """``sections`` has the values that differ, by the name of their section."""
    changed = {name: getattr(settings, name).model_copy(update=dict(values)) for name, values in sections.items()}
    return settings.model_copy(update=changed)


def application(
    settings: Settings, illustrator: IllustratorService | None = None, *, with_state: bool = True
) -> FastAPI:
    """Opens a state of its own where it is served: on its server's loop, as every process does."""

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
    """A client without a network in between."""
    app = application(state.settings, illustrator)
    install(app, state)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60) as client:
        yield client


class Hand:
    """A worker that does what a test says, and nothing by itself."""

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
        """The job is after ``step``, with a checkpoint, and maybe a preview."""
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


def folded(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Where a job stands, from what happened to it alone."""
    told: dict[str, Any] = {"error": None}
    for event in events:
        told |= {name: event["data"].get(name) for name in STANDS}
        told["last_event"] = event["id"]
        if event["event"] == "failed":
            told["error"] = event["data"]["error"]
    return told


STANDS = ("status", "progress", "attempt", "step", "steps", "preview_url")


def stands(job: Mapping[str, Any]) -> dict[str, Any]:
    """The same of the answer about the job."""
    return {name: job[name] for name in (*STANDS, "error", "last_event")}
