"""Waits until all replicas of a site have accepted a version."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from serve.errors import Conflict
from serve.releases.rollouts.rollout import Rollout, concurrent_change_error, read_all
from serve.releases.rollouts.version_reconciler import HEARTBEAT_S
from serve.state import State
from serve.state.job_states import LastSeen, updated
from serve.state.tables import replicas

QUORUM_TIMEOUT_S = 90.0
"""For loading and checking a version; large files take a while."""
REPLICA_TIMEOUT_S = 4 * HEARTBEAT_S
"""A replica without a heartbeat for this long is gone."""
POLL_S = 0.25


async def all_ready(state: State, rollout: Rollout) -> bool:
    """Wait until each replica with the engine has checked the candidate of ``rollout``; False: there is no replica.

    Raises Conflict with the reasons of rejection, on timeout, or if the rollout is changed meanwhile.
    """
    seen: LastSeen = {}
    began = time.monotonic()
    while True:
        rows, now = await _replicas(state, rollout), time.monotonic()
        seen = updated(seen, {replica: beat for replica, (beat, _) in rows.items()}, now)
        findings = {replica: _finding(report, rollout) for replica, (_, report) in rows.items()}
        bad = sorted({f["reason"] for f in findings.values() if f is not None and not f["ok"]})
        if bad:
            raise Conflict("; ".join(bad)[:1000])
        silent = [replica for replica, finding in findings.items() if finding is None]
        gone = [replica for replica in silent if now - seen[replica][1] >= REPLICA_TIMEOUT_S]
        if gone:
            await _delete_replicas(state, {replica: seen[replica][0] for replica in gone})
        if len(silent) == len(gone):
            return len(findings) > len(gone)
        if now - began >= QUORUM_TIMEOUT_S:
            raise Conflict(f"{len(silent)} replicas have not said within {QUORUM_TIMEOUT_S:g} s whether it is fit")
        await asyncio.sleep(POLL_S)


async def _replicas(state: State, rollout: Rollout) -> dict[str, tuple[int, Mapping[str, Any]]]:
    """Raises Conflict if the rollout has changed."""
    engine = rollout.engine
    async with state.database.read() as connection:
        now = (await read_all(connection)).get(engine)
        if now is None or (now.candidate, now.asked) != (rollout.candidate, rollout.asked):
            raise concurrent_change_error(engine)
        rows = await connection.execute(sa.select(replicas))
        return {row.id: (row.beat, row.engines[engine]) for row in rows if engine in row.engines}


def _finding(report: Mapping[str, Any], rollout: Rollout) -> Mapping[str, Any] | None:
    finding: Mapping[str, Any] | None = report.get("finding")
    if finding is None or (finding["version"], finding["asked"]) != (rollout.candidate, rollout.asked):
        return None
    return finding


async def _delete_replicas(state: State, beats: Mapping[str, int]) -> None:
    async with state.database.write() as connection:
        for replica, beat in beats.items():
            here = (replicas.c.id == replica, replicas.c.beat == beat)
            await connection.execute(sa.delete(replicas).where(*here))
