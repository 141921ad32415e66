"""A version examined where no stack runs: in a Triton of this process, which ends at once."""

from __future__ import annotations

import asyncio

from serve.engines.client import EngineClient
from serve.engines.triton.manifests import check_files, check_manifest
from serve.engines.triton.server import TritonServer
from serve.errors import Conflict, EngineUnavailable
from serve.releases.rollouts import smoke_test
from serve.releases.rollouts.rollout import Rollout
from serve.releases.rollouts.site import ensemble_of
from serve.settings import IllustratorSettings, VectorizerSettings
from serve.state import State


async def examine(state: State, rollout: Rollout) -> None:
    """The candidate of ``rollout``, in the Triton that its ensemble would have.

    Raises Conflict with the reason, and NotFound where the repository is not here.
    """
    engine, version = rollout.engine, rollout.candidate or ""
    own = ensemble_of(state.settings, engine)
    for check in (check_manifest, check_files):
        await asyncio.to_thread(check, own.model_repository / engine, version)
    try:
        await _examine(own, engine, version)
    except EngineUnavailable as error:
        raise Conflict(f"{engine}/{version} does not load: {error}") from error


async def _examine(own: VectorizerSettings | IllustratorSettings, engine: str, version: str) -> None:
    server = TritonServer(
        own.model_repository,
        [engine],
        versions={engine: [version]},
        start_timeout_s=own.engine_start_timeout_s,
        tritonserver=own.tritonserver,
    )
    try:
        await asyncio.to_thread(server.start)
        client = EngineClient(server.url)
        try:
            await smoke_test.check_answers(client, engine, version)
        finally:
            await client.close()
    finally:
        await asyncio.to_thread(server.stop)
