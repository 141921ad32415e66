"""A version examined where no stack runs: in a Triton of this process, which ends at once."""

from __future__ import annotations

import asyncio

from serve.engines.client import Engines
from serve.engines.server import TritonServer
from serve.errors import Conflict, EngineUnavailable
from serve.rollouts import fitness
from serve.rollouts.rollout import Rollout
from serve.rollouts.site import repository_of
from serve.state import State


async def examine(state: State, rollout: Rollout) -> None:
    """The candidate of ``rollout``. Raises Conflict with the reason, and NotFound where the repository is not here."""
    engine, version = rollout.engine, rollout.candidate or ""
    repository = repository_of(state.settings, engine)
    await asyncio.to_thread(fitness.check_files, repository / engine, version)
    server = TritonServer(repository, [engine], versions={engine: [version]})
    try:
        await asyncio.to_thread(server.start)
        client = Engines(server.url)
        try:
            await fitness.check_answers(client, engine, version)
        finally:
            await client.close()
    except EngineUnavailable as error:
        raise Conflict(f"{engine}/{version} does not load: {error}") from error
    finally:
        await asyncio.to_thread(server.stop)
