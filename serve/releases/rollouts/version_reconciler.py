"""`VersionReconciler`: keeps the engines of one replica at the versions that the site wants, and tells what it has.

A replica learns from the database alone: whoever changes a version need not know how many replicas there are, and one
that starts later comes up with what is wanted then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from serve.engines.engine_set import EngineSet
from serve.engines.triton.manifests import check_files, check_manifest
from serve.errors import AtelierError, OutOfSpace, StateUnavailable
from serve.releases.rollouts import smoke_test
from serve.releases.rollouts.rollout import Rollout, read_all
from serve.releases.rollouts.site import FORGOTTEN_AFTER
from serve.settings import Settings
from serve.state.database import Database, database_url
from serve.state.job_states import new_id
from serve.state.tables import replicas, utc_now

LOGGER = logging.getLogger(__name__)

LOOK_S, TELL_S = 1.0, 0.25
BEAT_S = 2.0
FIRST_S = 5.0
"""How long a replica that starts waits for what is wanted of it."""


@dataclass(frozen=True)
class Finding:
    """What a replica found when it was asked for the ``asked``-th time."""

    asked: int
    ok: bool
    reason: str
    took_s: float


async def wanted_now(settings: Settings) -> dict[str, str]:
    """The current version by engine; none when the database does not say so in time, or is yet to be made."""
    database = Database(database_url(settings), settings.database)
    try:
        async with asyncio.timeout(FIRST_S), database.read() as connection:
            return {engine: rollout.current for engine, rollout in (await read_all(connection)).items()}
    except (TimeoutError, AtelierError, sa.exc.ProgrammingError) as error:
        LOGGER.warning("engines begin with their lowest versions: %s", error or "the database took too long")
        return {}
    finally:
        await database.close()


class VersionReconciler:
    """Of one replica, for one event loop; `start` it, and `close` it."""

    def __init__(self, settings: Settings, engine_set: EngineSet, repository: Path) -> None:
        self._settings = settings
        self._engine_set = engine_set
        self._repository = repository
        self._id = new_id()
        self._beat = 0
        self._last: tuple[float, Any] | None = None
        self._findings: dict[str, tuple[str, Finding]] = {}
        """By engine: of which version."""
        self._failures: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._following: dict[str, asyncio.Task[None]] = {}
        """By engine: one at a time has its versions loaded and examined."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        # As it is: who migrates is who serves requests, and its tools would hold this event loop up.
        database = Database(database_url(self._settings), self._settings.database)
        try:
            # Beside one another: whoever loads a version for minutes still lives.
            await asyncio.gather(self._often(self._look, database, LOOK_S), self._often(self._tell, database, TELL_S))
        finally:
            for task in self._following.values():
                task.cancel()
            await asyncio.gather(*self._following.values(), return_exceptions=True)
            with contextlib.suppress(AtelierError, TimeoutError, sa.exc.ProgrammingError):
                async with asyncio.timeout(2.0), database.write() as connection:
                    await connection.execute(sa.delete(replicas).where(replicas.c.id == self._id))
            await database.close()

    async def _often(self, act: Callable[[Database], Awaitable[None]], database: Database, pause_s: float) -> None:
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
                LOGGER.exception("a steward's loop failed, and goes on")
            await asyncio.sleep(pause_s)

    async def _look(self, database: Database) -> None:
        """Do what is wanted. Raises StateUnavailable."""
        async with database.read() as connection:
            wanted = await read_all(connection)
        for engine in dict.fromkeys(self._engine_set.names):
            if (rollout := wanted.get(engine)) is None:
                continue
            self._engine_set.versions.switch(engine, rollout.current)  # at once, whatever is loaded meanwhile
            if (under_way := self._following.get(engine)) is None or under_way.done():
                self._following[engine] = asyncio.create_task(self._try_to_follow(rollout))

    async def _try_to_follow(self, rollout: Rollout) -> None:
        """Of each engine by itself: one may load for minutes, or have files that nobody foresaw."""
        try:
            await self._follow(rollout)
        except Exception:
            LOGGER.exception("the versions of engine %s could not be looked after", rollout.engine)

    async def _follow(self, rollout: Rollout) -> None:
        engine, candidate, versions = rollout.engine, rollout.candidate, self._engine_set.versions
        of, finding = self._findings.get(engine, ("", None))
        is_new = finding is None or (of, finding.asked) != (candidate, rollout.asked)
        began, reason = time.perf_counter(), ""
        if candidate is None:
            self._findings.pop(engine, None)
        elif is_new:
            versions.clear_failures(engine)
            reason = await self._why_not(engine, candidate)
        elif finding is not None:
            reason = finding.reason
        others = [version for version in rollout.others if version != candidate or not reason]
        failures = await versions.retain(engine, [rollout.current, *others])
        self._note_failure(engine, failures.get(rollout.current, ""))
        if candidate is not None and is_new:
            reason = reason or failures.get(candidate, "") or await self._why_silent(engine, candidate)
            if reason:
                LOGGER.error("engine %s, version %s is not fit: %s", engine, candidate, reason)
                versions.block(engine, candidate, reason)
            found = Finding(rollout.asked, not reason, reason, round(time.perf_counter() - began, 3))
            self._findings[engine] = candidate, found

    async def _why_not(self, engine: str, version: str) -> str:
        """What is wrong with its manifest and files; those of a Triton outside are not here."""
        if not self._engine_set.owns:
            return ""
        folder = self._repository / engine
        try:
            await asyncio.to_thread(check_manifest, folder, version)
            if version in self._engine_set.versions.loaded(engine):  # else they are looked at when it is to be loaded
                await asyncio.to_thread(check_files, folder, version)
        except AtelierError as error:
            return str(error)
        return ""

    async def _why_silent(self, engine: str, version: str) -> str:
        try:
            await smoke_test.check_answers(self._engine_set.client, engine, version)
        except AtelierError as error:
            return str(error)
        return ""

    def _note_failure(self, engine: str, failure: str) -> None:
        """The version that is to be current cannot be had; requests that name none get what they got before."""
        if failure and self._failures.get(engine) != failure:
            LOGGER.error("engine %s stays at %s: %s", engine, self._engine_set.versions.current[engine], failure)
        self._failures[engine] = failure

    async def _tell(self, database: Database) -> None:
        """Now and then that it lives, and at once what is new. Raises StateUnavailable, OutOfSpace."""
        told = {engine: self._told_of(engine) for engine in dict.fromkeys(self._engine_set.names)}
        now = time.monotonic()
        if self._last is not None and self._last[1] == told and now - self._last[0] < BEAT_S:
            return
        self._beat += 1
        row = {"beat": self._beat, "engines": told, "updated_at": utc_now()}
        async with database.write() as connection:
            changed = await connection.execute(sa.update(replicas).where(replicas.c.id == self._id).values(row))
            if changed.rowcount == 0:
                old = replicas.c.updated_at < utc_now() - FORGOTTEN_AFTER
                await connection.execute(sa.delete(replicas).where(old))  # who begins clears up after those who died
                await connection.execute(replicas.insert(), {"id": self._id, **row})
        self._last = now, told

    def _told_of(self, engine: str) -> dict[str, Any]:
        versions = self._engine_set.versions
        told: dict[str, Any] = {"current": versions.current.get(engine, ""), "loaded": list(versions.loaded(engine))}
        if engine in self._findings:
            version, finding = self._findings[engine]
            told["finding"] = {"version": version, **asdict(finding)}
        if self._failures.get(engine):
            told["failure"] = self._failures[engine]
        return told
