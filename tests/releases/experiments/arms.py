"""Experiments for tests: settings, and rows of generations with their arms."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from serve.settings import ExperimentSettings, Settings
from serve.state import State
from serve.state.database import Database
from serve.state.tables import exposures, feedback, generations, measurements, results, utc_now

STEPS: dict[str, Any] = {"arms": {"few": {}, "many": {"options": {"num_inference_steps": 6}}}}
MODELS: dict[str, Any] = {"arms": {"mini": {"options": {"model": "mini"}}, "turbo": {"options": {"model": "turbo"}}}}


def experiment(document: dict[str, Any] = STEPS, **more: Any) -> ExperimentSettings:
    return ExperimentSettings.model_validate({**document, **more})


def with_experiments(state: State, flags: dict[str, Any] | None = None, **found: dict[str, Any]) -> State:
    given = state.settings.model_dump(exclude={"experiments", "flags"})
    settings = Settings(**given, experiments=found, flags=flags or {})  # type: ignore[arg-type]
    return State(state.database, state.objects, settings)


async def exposed(database: Database) -> list[tuple[str, str, str, str]]:
    """(experiment, arm, user, generation), the oldest first."""
    e = exposures.c
    async with database.read() as connection:
        query = sa.select(e.experiment, e.arm, e.user_id, e.generation_id).order_by(e.created_at)
        return [tuple(row) for row in await connection.execute(query)]


class Made:
    """Writes rows of generations of the experiment ``steps``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._count = 0

    async def add(self, arm: str, user: str, **values: Any) -> str:
        """``seconds``, ``success``, ``cached``, ``favorite``, ``rating``, ``score``, ``feedback``, ``deleted``."""
        self._count += 1
        name, now = f"g{self._count:05}", utc_now()
        own = {"generation_id": name, "user_id": user, "created_at": now}
        measured = {
            "kind": "illustrate", "generation_time_s": values.get("seconds", 1.0),
            "success": values.get("success", True), "cached": values.get("cached", False),
        }  # fmt: skip
        row = {
            "id": name, "user_id": user, "kind": "illustrate", "status": "completed", "created_at": now,
            "favorite": values.get("favorite", False), "rating": values.get("rating"),
        }  # fmt: skip
        async with self._database.write() as connection:
            await connection.execute(exposures.insert(), {"experiment": "steps", "arm": arm, **own})
            await connection.execute(measurements.insert(), {**own, **measured})
            if values.get("deleted"):
                return name
            await connection.execute(generations.insert(), row)
            for place, score in enumerate(values.get("score", ())):
                picture = {
                    "id": f"{name}-{place}", "generation_id": name, "place": place, "object": "x", "bytes": 1,
                    "media_type": "image/png", "score": score, "created_at": now,
                }  # fmt: skip
                await connection.execute(results.insert(), picture)
            if "feedback" in values:
                await connection.execute(feedback.insert(), {**own, "id": name, "kind": values["feedback"]})
        return name
