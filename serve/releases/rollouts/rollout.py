"""The rollout state of one engine, and the version it gives to a user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import Conflict
from serve.releases.flags.flag import share
from serve.state.tables import rollouts

_ALL = sa.select(rollouts).order_by(rollouts.c.engine)


@dataclass(frozen=True)
class Rollout:
    """``percentage`` (0 to 100) of users get ``candidate``, the others ``current``; ``previous`` preceded it."""

    engine: str
    current: str
    previous: str | None = None
    candidate: str | None = None
    percentage: float = 0.0
    asked: int = 0
    revision: int = 0
    updated_by: str | None = None
    updated_at: datetime | None = None

    def version_for(self, unit: str) -> str:
        """The version of a user, or of an anonymous request (`flags.flag.unit_of`): deterministic, and kept as the
        percentage rises."""
        if self.candidate is not None and 100.0 * share(f"engine {self.engine}", unit) < self.percentage:
            return self.candidate
        return self.current

    @property
    def others(self) -> Sequence[str]:
        """Versions loaded beside the current one."""
        return [version for version in (self.candidate, self.previous) if version is not None]

    def describe(self) -> str:
        """Description for the audit log."""
        trial = f", {self.candidate} at {self.percentage:g} %" if self.candidate is not None else ""
        before = f", before {self.previous}" if self.previous is not None else ""
        return f"{self.current}{before}{trial}"

    def row(self) -> dict[str, Any]:
        """Columns of the state, without author and time."""
        return {
            "engine": self.engine, "current": self.current, "previous": self.previous, "candidate": self.candidate,
            "percentage": self.percentage, "asked": self.asked, "revision": self.revision,
        }  # fmt: skip


async def read_all(connection: AsyncConnection) -> dict[str, Rollout]:
    """Stored rollouts by engine."""
    return {row["engine"]: Rollout(**row) for row in (await connection.execute(_ALL)).mappings()}


def concurrent_change_error(engine: str) -> Conflict:
    """The error of a command based on outdated state."""
    return Conflict(f"somebody else has changed engine '{engine}' meanwhile; look, and try again")


def experiment_name(engine: str) -> str:
    """Experiment name of a rollout's exposures; the space keeps it distinct from names in the settings."""
    return f"engine {engine}"
