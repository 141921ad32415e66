"""Usage of the models: Triton's ``ModelStatistics``, and a row in the database for the cost of each request."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from serve.errors import OutOfSpace, StateUnavailable
from serve.jobs.records import measurement_row
from serve.state.database import Database
from serve.state.job_states import new_id
from serve.state.tables import measurements

LOGGER = logging.getLogger(__name__)


class Statistics:
    """Count and duration of one model's requests through this gateway."""

    def __init__(self, name: str, version: str) -> None:
        self._name = name
        self._version = version
        self._stats = {"success": [0, 0], "fail": [0, 0]}  # count, nanoseconds
        self._last_inference_ms = 0

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Counts one inference: a failure when the block raises or is cancelled."""
        start = time.perf_counter_ns()
        outcome = "fail"
        try:
            yield
            outcome = "success"
        finally:
            self._stats[outcome][0] += 1
            self._stats[outcome][1] += time.perf_counter_ns() - start
            self._last_inference_ms = time.time_ns() // 1_000_000

    def entry(self) -> dict[str, Any]:
        """One item of ``model_stats``. An ensemble has no queue and no stages: all its time is ``compute_infer``.

        perf_analyzer recognises the version that answered by the count of ``queue``.
        """
        succeeded, took_ns = self._stats["success"]
        parts = {part: {"count": succeeded, "ns": 0} for part in ("queue", "compute_input", "compute_output")}
        return {
            "name": self._name,
            "version": self._version,
            "last_inference": self._last_inference_ms,
            "inference_count": succeeded,
            "execution_count": succeeded,
            "inference_stats": {
                **{key: {"count": count, "ns": ns} for key, (count, ns) in self._stats.items()},
                **parts,
                "compute_infer": {"count": succeeded, "ns": took_ns},
            },
            "batch_stats": [],
        }


class Recorder:
    """Writes a row of cost for each drawing and conversion (A-090). Without a ``database`` it does nothing."""

    def __init__(self, database: Database | None) -> None:
        self._database = database

    async def keep(self, user_id: str, kind: str, model: str | None, took_s: float, cost: Mapping[str, float]) -> None:
        """Writes the row. An error of the database is logged, and the answer is sent all the same."""
        if self._database is None:
            return
        row = measurement_row(new_id(), user_id, kind, "", model, took_s, cost)
        try:
            async with self._database.write() as connection:
                await connection.execute(sa.insert(measurements), row)
        except (StateUnavailable, OutOfSpace) as error:
            LOGGER.warning("what a request by open inference cost was not kept: %s", error)
