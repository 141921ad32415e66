"""Checks that an engine version answers: in a running Triton, or in a temporary one where no stack runs."""

from __future__ import annotations

import asyncio

import numpy as np

from serve.engines.client import EngineClient
from serve.engines.triton.manifests import check_files, check_manifest
from serve.engines.triton.server import TritonServer
from serve.errors import AtelierError, Conflict, EngineUnavailable
from serve.releases.rollouts.site import Rollout, ensemble_settings
from serve.settings import IllustratorSettings, VectorizerSettings
from serve.state import State

SMOKE_TIMEOUT_S = 20.0


async def check_answers(client: EngineClient, engine: str, version: str) -> None:
    """One real inference. Raises Conflict."""
    try:
        outputs = await client.probe(engine, timeout_s=SMOKE_TIMEOUT_S, version=version)
        promised = {output["name"] for output in (await client.config(engine)).get("output", [])}
    except AtelierError as error:
        raise Conflict(f"{engine}/{version} does not answer: {error}") from error
    if missing := promised - set(outputs):
        raise Conflict(f"{engine}/{version} does not answer with {', '.join(sorted(missing))}")
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Conflict(f"{engine}/{version} answers with numbers that are not finite, in {name}")


async def examine(state: State, rollout: Rollout) -> None:
    """Check the candidate of ``rollout`` in a Triton as its ensemble would run it.

    Raises Conflict with the reason, NotFound without the repository.
    """
    engine, version = rollout.engine, rollout.candidate or ""
    own = ensemble_settings(state.settings, engine)
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
            await check_answers(client, engine, version)
        finally:
            await client.close()
    finally:
        await asyncio.to_thread(server.stop)
