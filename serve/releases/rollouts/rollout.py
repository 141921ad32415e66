"""What is decided about one engine's versions, and whom that gives which."""

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
    """``percentage``, 0 to 100, of all users have ``candidate``, the others ``current``; ``previous`` was before it."""

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
        """Of a user, or of a request of somebody who is not known (`flags.flag.unit_of`): always the same at one
        percentage, and who has the candidate keeps it as the percentage rises."""
        if self.candidate is not None and 100.0 * share(f"engine {self.engine}", unit) < self.percentage:
            return self.candidate
        return self.current

    @property
    def others(self) -> Sequence[str]:
        """What is loaded beside the current one."""
        return [version for version in (self.candidate, self.previous) if version is not None]

    def told(self) -> str:
        """For the audit log."""
        trial = f", {self.candidate} at {self.percentage:g} %" if self.candidate is not None else ""
        before = f", before {self.previous}" if self.previous is not None else ""
        return f"{self.current}{before}{trial}"

    def row(self) -> dict[str, Any]:
        """What decides; when and by whom is for who writes it."""
        return {
            "engine": self.engine, "current": self.current, "previous": self.previous, "candidate": self.candidate,
            "percentage": self.percentage, "asked": self.asked, "revision": self.revision,
        }  # fmt: skip


async def read_all(connection: AsyncConnection) -> dict[str, Rollout]:
    """By engine, as they are now."""
    return {row["engine"]: Rollout(**row) for row in (await connection.execute(_ALL)).mappings()}


def changed_meanwhile(engine: str) -> Conflict:
    """To be raised by who decides on what is not so any more."""
    return Conflict(f"somebody else has changed engine '{engine}' meanwhile; look, and try again")


def experiment_of(engine: str) -> str:
    """Under which name it is written down who had which version: no experiment of the settings can have it."""
    return f"engine {engine}"
