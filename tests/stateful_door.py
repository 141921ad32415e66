"""The real application around a stand-in Vectorizer, with a state in SQLite and a folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import FastAPI
from standin import StandIn

from serve.api.app import create_app
from serve.ensembles.requests import File, Outcome
from serve.jobs.records import completion_columns, insert_results, object_store_items
from serve.settings import ReferencesSettings, Settings
from serve.state import State
from serve.state.tables import generations, utc_now


@dataclass(frozen=True)
class Door:
    client: httpx.AsyncClient
    app: FastAPI
    state: State
    service: StandIn

    async def draw(self, *files: File, prompt: str = "red apple, flat", user_id: str = "ada") -> list[str]:
        """Stores a completed generation; returns the ids of its results."""
        outcome = Outcome(files, {"timings_s": {"draw": 0.5}}, "mini", 0.5)
        stored = await self.state.objects.put_all(object_store_items(files))
        async with self.state.database.write() as connection:
            made = {
                "id": f"g{stored[0].name[:8]}",
                "user_id": user_id,
                "kind": "illustrate",
                "prompt": prompt,
                "parameters": {"options": {"seed": 7}},
                "status": "completed",
                "created_at": utc_now(),
                **completion_columns(outcome),
            }
            await connection.execute(generations.insert().values(**made))
            return await insert_results(connection, str(made["id"]), outcome, stored)


@contextlib.asynccontextmanager
async def opened(folder: Path, max_per_user: int = 1000) -> AsyncIterator[Door]:
    settings = Settings(state_dir=folder, references=ReferencesSettings(max_per_user=max_per_user))
    state, service = await State.open(settings), StandIn()
    app = create_app(service, settings)
    app.state.state = state
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60) as client:
        yield Door(client, app, state, service)
    await state.close()


def is_problem(answer: httpx.Response, status: int, field: str | None = None) -> bool:
    problem = json.loads(answer.content)
    return answer.status_code == status == problem["status"] and problem["field"] == field
