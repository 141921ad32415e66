"""What drawings and conversions by the open protocol cost: a row each, as those of every other door have (A-090)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import sqlalchemy as sa

from serve.errors import OutOfSpace, StateUnavailable
from serve.jobs.records import measurement_row
from serve.state.database import Database
from serve.state.job_states import new_id
from serve.state.tables import measurements

LOGGER = logging.getLogger(__name__)


class Recorder:
    """Without a ``database`` nothing is kept."""

    def __init__(self, database: Database | None) -> None:
        self._database = database

    async def keep(self, user_id: str, kind: str, model: str | None, took_s: float, cost: Mapping[str, float]) -> None:
        """No answer is lost for want of its row."""
        if self._database is None:
            return
        row = measurement_row(new_id(), user_id, kind, "", model, took_s, cost)
        try:
            async with self._database.write() as connection:
                await connection.execute(sa.insert(measurements), row)
        except (StateUnavailable, OutOfSpace) as error:
            LOGGER.warning("what a request by open inference cost was not kept: %s", error)
