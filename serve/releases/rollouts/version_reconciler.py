"""`VersionReconciler`: keeps one replica's engines at the versions that the site wants, and reports their state.

Replicas read the wanted state from the database only, so writers need not know the replicas, and new replicas start
with the present state. `wait_for_replicas` waits until all of them have accepted a version.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from serve.engines.engine_set import EngineSet
from serve.engines.triton.manifests import check_files, check_manifest
from serve.errors import AtelierError, Conflict, OutOfSpace, StateUnavailable
from serve.releases.rollouts import smoke_test
from serve.releases.rollouts.site import REPLICA_REPORT_TTL, Rollout, concurrent_change_error, read_all
from serve.settings import Settings
from serve.state import State
from serve.state.database import Database, database_url
from serve.state.job_states import LastSeen, new_id, updated
from serve.state.tables import replicas, utc_now

LOGGER = logging.getLogger(__name__)

RECONCILE_INTERVAL_S, REPORT_INTERVAL_S = 1.0, 0.25
HEARTBEAT_S = 2.0
INITIAL_READ_TIMEOUT_S = 5.0
"""Timeout for reading the initial versions."""


@dataclass(frozen=True)
class Finding:
    """Result of a replica's check number ``asked``."""

    asked: int
    ok: bool
    reason: str
    took_s: float


async def current_versions(settings: Settings) -> dict[str, str]:
    """Current version by engine; empty if the database is not available in time or not migrated."""
    database = Database(database_url(settings), settings.database)
    try:
        async with asyncio.timeout(INITIAL_READ_TIMEOUT_S), database.read() as connection:
            return {engine: rollout.current for engine, rollout in (await read_all(connection)).items()}
    except (TimeoutError, AtelierError, sa.exc.ProgrammingError) as error:
        LOGGER.warning("engines begin with their lowest versions: %s", error or "the database took too long")
        return {}
    finally:
        await database.close()


class VersionReconciler:
    """Of one replica, for one event loop; call `start` and `close`."""

    def __init__(self, settings: Settings, engine_set: EngineSet, repository: Path) -> None:
        self._settings = settings
        self._engine_set = engine_set
        self._repository = repository
        self._id = new_id()
        self._beat = 0
        self._last: tuple[float, Any] | None = None
        self._findings: dict[str, tuple[str, Finding]] = {}
        """(version, finding) by engine."""
        self._failures: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._applying: dict[str, asyncio.Task[None]] = {}
        """Running task by engine."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        # Not migrated here: gateways do that, and the tools would block this event loop.
        database = Database(database_url(self._settings), self._settings.database)
        try:
            # Concurrent, so that heartbeats continue during a long load.
            await asyncio.gather(
                self._run_periodically(self._reconcile, database, RECONCILE_INTERVAL_S),
                self._run_periodically(self._report, database, REPORT_INTERVAL_S),
            )
        finally:
            for task in self._applying.values():
                task.cancel()
            await asyncio.gather(*self._applying.values(), return_exceptions=True)
            with contextlib.suppress(AtelierError, TimeoutError, sa.exc.ProgrammingError):
                async with asyncio.timeout(2.0), database.write() as connection:
                    await connection.execute(sa.delete(replicas).where(replicas.c.id == self._id))
            await database.close()

    async def _run_periodically(
        self, act: Callable[[Database], Awaitable[None]], database: Database, pause_s: float
    ) -> None:
        away = False
        while True:
            try:
                await act(database)
                away = False
            except (StateUnavailable, OutOfSpace, sa.exc.ProgrammingError) as error:  # the last: no tables yet
                if not away:
                    LOGGER.warning("versions of engines stay as they are: %s", error)
                away = True
            except Exception:
                LOGGER.exception("reconciling engine versions failed; it is tried again")
            await asyncio.sleep(pause_s)

    async def _reconcile(self, database: Database) -> None:
        """Apply the wanted state. Raises StateUnavailable."""
        async with database.read() as connection:
            wanted = await read_all(connection)
        for engine in dict.fromkeys(self._engine_set.names):
            if (rollout := wanted.get(engine)) is None:
                continue
            self._engine_set.versions.switch(engine, rollout.current)  # at once, even during a load
            if (under_way := self._applying.get(engine)) is None or under_way.done():
                self._applying[engine] = asyncio.create_task(self._apply_logged(rollout))

    async def _apply_logged(self, rollout: Rollout) -> None:
        """Per engine, since a load may take minutes; unexpected errors are logged."""
        try:
            await self._apply(rollout)
        except Exception:
            LOGGER.exception("reconciling the versions of engine %s failed", rollout.engine)

    async def _apply(self, rollout: Rollout) -> None:
        engine, candidate, versions = rollout.engine, rollout.candidate, self._engine_set.versions
        of, finding = self._findings.get(engine, ("", None))
        is_new = finding is None or (of, finding.asked) != (candidate, rollout.asked)
        began, reason = time.perf_counter(), ""
        if candidate is None:
            self._findings.pop(engine, None)
        elif is_new:
            versions.clear_failures(engine)
            reason = await self._manifest_fault(engine, candidate)
        elif finding is not None:
            reason = finding.reason
        others = [version for version in rollout.others if version != candidate or not reason]
        failures = await versions.retain(engine, [rollout.current, *others])
        self._note_failure(engine, failures.get(rollout.current, ""))
        if candidate is not None and is_new:
            reason = reason or failures.get(candidate, "") or await self._inference_fault(engine, candidate)
            if reason:
                LOGGER.error("engine %s, version %s is not fit: %s", engine, candidate, reason)
                versions.block(engine, candidate, reason)
            found = Finding(rollout.asked, not reason, reason, round(time.perf_counter() - began, 3))
            self._findings[engine] = candidate, found

    async def _manifest_fault(self, engine: str, version: str) -> str:
        """Fault of the manifest or files; an external Triton's files cannot be checked."""
        if not self._engine_set.owns:
            return ""
        folder = self._repository / engine
        try:
            await asyncio.to_thread(check_manifest, folder, version)
            if version in self._engine_set.versions.loaded(engine):  # otherwise checked at load
                await asyncio.to_thread(check_files, folder, version)
        except AtelierError as error:
            return str(error)
        return ""

    async def _inference_fault(self, engine: str, version: str) -> str:
        try:
            await smoke_test.check_answers(self._engine_set.client, engine, version)
        except AtelierError as error:
            return str(error)
        return ""

    def _note_failure(self, engine: str, failure: str) -> None:
        """The current version cannot be loaded; requests without a version keep the old one."""
        if failure and self._failures.get(engine) != failure:
            LOGGER.error("engine %s stays at %s: %s", engine, self._engine_set.versions.current[engine], failure)
        self._failures[engine] = failure

    async def _report(self, database: Database) -> None:
        """Report changes at once, and a heartbeat otherwise. Raises StateUnavailable, OutOfSpace."""
        report = {engine: self._report_of(engine) for engine in dict.fromkeys(self._engine_set.names)}
        now = time.monotonic()
        if self._last is not None and self._last[1] == report and now - self._last[0] < HEARTBEAT_S:
            return
        self._beat += 1
        row = {"beat": self._beat, "engines": report, "updated_at": utc_now()}
        async with database.write() as connection:
            changed = await connection.execute(sa.update(replicas).where(replicas.c.id == self._id).values(row))
            if changed.rowcount == 0:
                old = replicas.c.updated_at < utc_now() - REPLICA_REPORT_TTL
                await connection.execute(sa.delete(replicas).where(old))  # of replicas that died
                await connection.execute(replicas.insert(), {"id": self._id, **row})
        self._last = now, report

    def _report_of(self, engine: str) -> dict[str, Any]:
        versions = self._engine_set.versions
        report: dict[str, Any] = {"current": versions.current.get(engine, ""), "loaded": list(versions.loaded(engine))}
        if engine in self._findings:
            version, finding = self._findings[engine]
            report["finding"] = {"version": version, **asdict(finding)}
        if self._failures.get(engine):
            report["failure"] = self._failures[engine]
        return report


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
