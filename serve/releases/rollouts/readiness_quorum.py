"""Whether all replicas of a site have found a version fit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from serve.errors import Conflict
from serve.releases.rollouts.rollout import Rollout, changed_meanwhile, read_all
from serve.releases.rollouts.version_reconciler import BEAT_S
from serve.state import State
from serve.state.heartbeats import LastSeen, updated
from serve.state.tables import replicas

WAIT_S = 90.0
"""For replicas to load a version and to examine it: a large file takes a while to read."""
GONE_S = 4 * BEAT_S
"""A replica whose beat stands still for so long is gone."""
POLL_S = 0.25


async def all_ready(state: State, rollout: Rollout) -> bool:
    """Waits until each replica that has the engine has examined the candidate of ``rollout``; False: there is none.

    Raises Conflict with the reasons of those that found it not fit, when not all have answered in time, or when
    somebody else decides otherwise meanwhile.
    """
    seen: LastSeen = {}
    began = time.monotonic()
    while True:
        rows, now = await _replicas(state, rollout), time.monotonic()
        seen = updated(seen, {replica: beat for replica, (beat, _) in rows.items()}, now)
        findings = {replica: _finding(told, rollout) for replica, (_, told) in rows.items()}
        bad = sorted({f["reason"] for f in findings.values() if f is not None and not f["ok"]})
        if bad:
            raise Conflict("; ".join(bad)[:1000])
        silent = [replica for replica, finding in findings.items() if finding is None]
        gone = [replica for replica in silent if now - seen[replica][1] >= GONE_S]
        if gone:
            await _forget(state, {replica: seen[replica][0] for replica in gone})
        if len(silent) == len(gone):
            return len(findings) > len(gone)
        if now - began >= WAIT_S:
            raise Conflict(f"{len(silent)} replicas have not said within {WAIT_S:g} s whether it is fit")
        await asyncio.sleep(POLL_S)


async def _replicas(state: State, rollout: Rollout) -> dict[str, tuple[int, Mapping[str, Any]]]:
    """Raises Conflict once another question is to be answered."""
    engine = rollout.engine
    async with state.database.read() as connection:
        now = (await read_all(connection)).get(engine)
        if now is None or (now.candidate, now.asked) != (rollout.candidate, rollout.asked):
            raise changed_meanwhile(engine)
        rows = await connection.execute(sa.select(replicas))
        return {row.id: (row.beat, row.engines[engine]) for row in rows if engine in row.engines}


def _finding(told: Mapping[str, Any], rollout: Rollout) -> Mapping[str, Any] | None:
    finding: Mapping[str, Any] | None = told.get("finding")
    if finding is None or (finding["version"], finding["asked"]) != (rollout.candidate, rollout.asked):
        return None
    return finding


async def _forget(state: State, beats: Mapping[str, int]) -> None:
    async with state.database.write() as connection:
        for replica, beat in beats.items():
            here = (replicas.c.id == replica, replicas.c.beat == beat)
            await connection.execute(sa.delete(replicas).where(*here))
