"""Operators' commands on engine versions: load, split, promote, roll back, unload (D-083, D-091, A-100).

Each is one write, seen by all gateways and workers within two seconds. Only a version's readiness waits for replicas; a
rollback waits for nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.engines.triton import manifests
from serve.errors import Conflict, InvalidRequest
from serve.releases.rollouts import smoke_test
from serve.releases.rollouts.site import Rollout, concurrent_change_error, default_version, read_all
from serve.releases.rollouts.version_reconciler import all_ready
from serve.security.identity.audit import Actor, record
from serve.state import State
from serve.state.tables import insert_into, rollouts, utc_now

Change = Callable[[Rollout], Rollout]
ReadinessCheck = Callable[[State, Rollout], Awaitable[None]]


async def load(state: State, engine: str, version: str, actor: Actor) -> Rollout:
    """Make every replica load and check ``version``. It gets no traffic yet.

    Raises Conflict if a replica finds it unfit or another candidate exists; NotFound, StateUnavailable.
    """
    _check(version)
    before = await _rollout(state, engine)
    rollout = await _request_check(state, before, version, actor)
    await _await_quorum(state, before, rollout, actor)
    return rollout


async def split(state: State, engine: str, percentage: float, actor: Actor) -> Rollout:
    """Send ``percentage`` (0 to 100) of users to the candidate. Raises Conflict without one; NotFound."""
    if not 0 <= percentage <= 100:
        raise InvalidRequest("must be from 0 to 100", "percentage")

    def change(rollout: Rollout) -> Rollout:
        if rollout.candidate is None:
            raise Conflict(f"engine '{engine}' has no candidate; load one first")
        return replace(rollout, percentage=float(percentage))

    await _rollout(state, engine)
    return await _write(state, engine, change, "model.split", actor)


async def promote(state: State, engine: str, version: str | None, actor: Actor) -> Rollout:
    """Make the candidate, or ``version``, current after every replica has checked it again.

    Raises as `load` does; nothing has changed then.
    """
    before = await _rollout(state, engine)
    wanted = version or before.candidate
    if wanted is None:
        raise Conflict(f"engine '{engine}' has no candidate; say which version")
    _check(wanted)
    requested = await _request_check(state, before, wanted, actor)
    await _await_quorum(state, before, requested, actor)

    def change(rollout: Rollout) -> Rollout:
        _check_unchanged(rollout, requested)
        return replace(rollout, current=wanted, previous=rollout.current, candidate=None, percentage=0.0)

    return await _write(state, engine, change, "model.promote", actor)


async def rollback(state: State, engine: str, version: str | None, actor: Actor) -> Rollout:
    """Remove ``version`` from traffic: ends a candidate's split, or makes the previous version current again (the
    current one stays loaded). Does not wait for replicas.

    None: the candidate if it has traffic, or the current version if there is no candidate, so that a repeated command
    does not go back twice. Raises Conflict if there is nothing to go back to or it is ambiguous; NotFound.
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
    """Replicas unload ``version`` once it is unused. Raises Conflict for the current or an unloaded version."""

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
    """The version that a rollback without a name means."""
    if rollout.candidate is not None and rollout.percentage > 0:
        return rollout.candidate
    if rollout.candidate is not None and rollout.previous is not None:
        reason = f"its candidate {rollout.candidate} has no traffic; to go back from {rollout.current}"
        raise Conflict(f"engine '{rollout.engine}': {reason} to {rollout.previous}, name {rollout.current}")
    return rollout.current


def _check_unchanged(rollout: Rollout, known: Rollout) -> None:
    if rollout.revision != known.revision:
        raise concurrent_change_error(rollout.engine)


def _check(version: str) -> None:
    if not manifests.is_version_number(version):
        raise InvalidRequest("must be a whole number, as the version's folder is called", "version")


async def _rollout(state: State, engine: str) -> Rollout:
    """The stored rollout, or the default one. Raises NotFound."""
    async with state.database.read() as connection:
        found = (await read_all(connection)).get(engine)
    return found or Rollout(engine, await default_version(state, engine))


async def _request_check(state: State, before: Rollout, version: str, actor: Actor) -> Rollout:
    """Record that replicas must load and check ``version``."""

    def change(rollout: Rollout) -> Rollout:
        _check_unchanged(rollout, before)
        if version == rollout.current:
            raise Conflict(f"{rollout.engine}/{version} is the current version already")
        if rollout.candidate not in (None, version):
            raise Conflict(f"{rollout.engine}/{rollout.candidate} is on trial; promote or unload it first")
        previous = None if rollout.previous == version else rollout.previous
        return replace(rollout, candidate=version, previous=previous, asked=rollout.asked + 1)

    return await _write(state, before.engine, change, "model.load", actor, before)


async def _await_quorum(state: State, before: Rollout, requested: Rollout, actor: Actor) -> None:
    """Wait until every replica has accepted the candidate of ``requested``; on failure restore the previous state (a
    former candidate stays, without traffic)."""
    try:
        if not await all_ready(state, requested):
            await smoke_test.examine(state, requested)
    except BaseException as error:

        def change(rollout: Rollout) -> Rollout:
            if (rollout.candidate, rollout.asked) != (requested.candidate, requested.asked):
                raise Conflict("another change has replaced this one")
            previous = before.previous if before.previous == requested.candidate else rollout.previous
            return replace(rollout, candidate=before.candidate, previous=previous, percentage=0.0)

        if isinstance(error, Conflict) or before.candidate is None:
            with contextlib.suppress(Conflict):
                await _write(state, requested.engine, change, "model.refuse", actor, why=str(error))
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
    """``initial``: the state if none is stored."""
    async with state.database.write() as connection:
        if initial is not None:  # creates the row to lock
            values = {**initial.row(), "updated_at": utc_now()}
            insert = insert_into(rollouts, state.database.is_sqlite).values(values)
            await connection.execute(insert.on_conflict_do_nothing())
        before = await _lock_rollout(state, connection, engine)
        if before is None:
            raise Conflict(f"nobody has loaded a version of engine '{engine}' beside its current one")
        after = replace(change(before), revision=before.revision + 1)
        by = actor.user_id or actor.address
        values = {**after.row(), "updated_at": utc_now(), "updated_by": by}
        await connection.execute(sa.update(rollouts).where(rollouts.c.engine == engine).values(values))
        details = {"before": before.describe(), "after": after.describe()} | ({"why": why} if why else {})
        await record(connection, actor, action, engine, details)
    return replace(after, updated_by=by)


async def _lock_rollout(state: State, connection: AsyncConnection, engine: str) -> Rollout | None:
    """Lock the row until the end of the transaction; SQLite has a single writer anyway."""
    if not state.database.is_sqlite:
        row = sa.select(rollouts.c.engine).where(rollouts.c.engine == engine).with_for_update()
        await connection.execute(row)
    return (await read_all(connection)).get(engine)
