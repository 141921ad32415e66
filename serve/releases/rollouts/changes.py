"""What an operator does with versions: load, split, promote, roll back, unload (D-083, D-091, A-100).

Each is one write, seen by every gateway and worker within a second or two. Only what makes a version ready waits for
the replicas; a rollback asks nobody.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.engines.triton import repository_view
from serve.errors import Conflict, InvalidRequest
from serve.releases.rollouts import standalone_check
from serve.releases.rollouts.readiness_quorum import all_ready
from serve.releases.rollouts.rollout import Rollout, changed_meanwhile, read_all
from serve.releases.rollouts.site import default_of
from serve.security.identity.audit import Actor, record
from serve.state import State
from serve.state.tables import rollouts, utc_now

Change = Callable[[Rollout], Rollout]
Agreed = Callable[[State, Rollout], Awaitable[None]]


async def load(state: State, engine: str, version: str, actor: Actor) -> Rollout:
    """Every replica loads ``version`` and examines it. It gets no traffic yet.

    Raises Conflict when a replica finds that it is not fit, or another is on trial; NotFound, StateUnavailable.
    """
    _check(version)
    before = await _rollout(state, engine)
    rollout = await _ask(state, before, version, actor)
    await _agree(state, before, rollout, actor)
    return rollout


async def split(state: State, engine: str, percentage: float, actor: Actor) -> Rollout:
    """``percentage``, 0 to 100, of the users get the candidate. Raises Conflict when there is none; NotFound."""
    if not 0 <= percentage <= 100:
        raise InvalidRequest("must be from 0 to 100", "percentage")

    def change(rollout: Rollout) -> Rollout:
        if rollout.candidate is None:
            raise Conflict(f"engine '{engine}' has no candidate; load one first")
        return replace(rollout, percentage=float(percentage))

    await _rollout(state, engine)
    return await _write(state, engine, change, "model.split", actor)


async def promote(state: State, engine: str, version: str | None, actor: Actor) -> Rollout:
    """The candidate, or ``version``, takes the current one's place once every replica has examined it again.

    Raises as `load` does; then nothing has changed.
    """
    before = await _rollout(state, engine)
    wanted = version or before.candidate
    if wanted is None:
        raise Conflict(f"engine '{engine}' has no candidate; say which version")
    _check(wanted)
    asked = await _ask(state, before, wanted, actor)
    await _agree(state, before, asked, actor)

    def change(rollout: Rollout) -> Rollout:
        _check_unchanged(rollout, asked)
        return replace(rollout, current=wanted, previous=rollout.current, candidate=None, percentage=0.0)

    return await _write(state, engine, change, "model.promote", actor)


async def rollback(state: State, engine: str, version: str | None, actor: Actor) -> Rollout:
    """``version`` gets no traffic any more: a candidate's split ends; in place of the current version, the one before
    it is current again, and what was current stays loaded. Nobody is asked.

    None means a candidate that has traffic, or the current version where there is no candidate: said twice, it does not
    go back twice. Raises Conflict when there is nothing to go back to, or that is not clear; NotFound.
    """

    def change(rollout: Rollout) -> Rollout:
        left = version or _served_last(rollout)
        if left == rollout.candidate:
            return replace(rollout, percentage=0.0)
        if left != rollout.current:
            raise Conflict(f"{engine}/{left[:20]} has no traffic")
        if rollout.previous is None:
            raise Conflict(f"engine '{engine}' has no version to go back to")
        return replace(rollout, current=rollout.previous, previous=None, candidate=left, percentage=0.0)

    await _rollout(state, engine)
    return await _write(state, engine, change, "model.rollback", actor)


async def unload(state: State, engine: str, version: str, actor: Actor) -> Rollout:
    """Replicas drop ``version`` once nothing uses it. Raises Conflict for the current one, or one not loaded."""

    def change(rollout: Rollout) -> Rollout:
        if version == rollout.current:
            raise Conflict(f"{engine}/{version} is the current version; promote another first")
        if version == rollout.candidate:
            return replace(rollout, candidate=None, percentage=0.0)
        if version == rollout.previous:
            return replace(rollout, previous=None)
        raise Conflict(f"{engine}/{version} is not loaded")

    await _rollout(state, engine)
    return await _write(state, engine, change, "model.unload", actor)


def _served_last(rollout: Rollout) -> str:
    """What a rollback that names none means."""
    if rollout.candidate is not None and rollout.percentage > 0:
        return rollout.candidate
    if rollout.candidate is not None and rollout.previous is not None:
        told = f"its candidate {rollout.candidate} has no traffic; to go back from {rollout.current}"
        raise Conflict(f"engine '{rollout.engine}': {told} to {rollout.previous}, name {rollout.current}")
    return rollout.current


def _check_unchanged(rollout: Rollout, known: Rollout) -> None:
    if rollout.revision != known.revision:
        raise changed_meanwhile(rollout.engine)


def _check(version: str) -> None:
    if not repository_view.is_version_number(version):
        raise InvalidRequest("must be a whole number, as the version's folder is called", "version")


async def _rollout(state: State, engine: str) -> Rollout:
    """As it is now, or would be were it written down. Raises NotFound."""
    async with state.database.read() as connection:
        found = (await read_all(connection)).get(engine)
    return found or Rollout(engine, await default_of(state, engine))


async def _ask(state: State, before: Rollout, version: str, actor: Actor) -> Rollout:
    """Writes down that replicas are to load ``version``, and to examine it anew."""

    def change(rollout: Rollout) -> Rollout:
        _check_unchanged(rollout, before)
        if version == rollout.current:
            raise Conflict(f"{rollout.engine}/{version} is the current version already")
        if rollout.candidate not in (None, version):
            raise Conflict(f"{rollout.engine}/{rollout.candidate} is on trial; promote or unload it first")
        previous = None if rollout.previous == version else rollout.previous
        return replace(rollout, candidate=version, previous=previous, asked=rollout.asked + 1)

    return await _write(state, before.engine, change, "model.load", actor, before)


async def _agree(state: State, before: Rollout, asked: Rollout, actor: Actor) -> None:
    """Until every replica has found the candidate of ``asked`` fit. Else what was before is written down again; a
    candidate that was one before stays, and gets no traffic."""
    try:
        if not await all_ready(state, asked):
            await standalone_check.examine(state, asked)
    except BaseException as error:

        def change(rollout: Rollout) -> Rollout:
            if (rollout.candidate, rollout.asked) != (asked.candidate, asked.asked):
                raise Conflict("it is somebody else's question now")
            previous = before.previous if before.previous == asked.candidate else rollout.previous
            return replace(rollout, candidate=before.candidate, previous=previous, percentage=0.0)

        if isinstance(error, Conflict) or before.candidate is None:
            with contextlib.suppress(Conflict):
                await _write(state, asked.engine, change, "model.refuse", actor, why=str(error))
        raise


async def _write(
    state: State,
    engine: str,
    change: Change,
    action: str,
    actor: Actor,
    initial: Rollout | None = None,
    why: str | None = None,
) -> Rollout:
    """``initial`` is what it was where nothing is written down."""
    async with state.database.write() as connection:
        if initial is not None:  # so that there is a row to lock
            values = {**initial.row(), "updated_at": utc_now()}
            insert = (sqlite if state.database.is_sqlite else postgresql).insert(rollouts).values(values)
            await connection.execute(insert.on_conflict_do_nothing())
        before = await _locked(state, connection, engine)
        if before is None:
            raise Conflict(f"nobody has loaded a version of engine '{engine}' beside its current one")
        after = replace(change(before), revision=before.revision + 1)
        by = actor.user_id or actor.address
        values = {**after.row(), "updated_at": utc_now(), "updated_by": by}
        await connection.execute(sa.update(rollouts).where(rollouts.c.engine == engine).values(values))
        told = {"before": before.told(), "after": after.told()} | ({"why": why} if why else {})
        await record(connection, actor, action, engine, told)
    return replace(after, updated_by=by)


async def _locked(state: State, connection: AsyncConnection, engine: str) -> Rollout | None:
    """Nobody else changes it until the transaction ends; on SQLite nobody writes at all."""
    if not state.database.is_sqlite:
        row = sa.select(rollouts.c.engine).where(rollouts.c.engine == engine).with_for_update()
        await connection.execute(row)
    return (await read_all(connection)).get(engine)
