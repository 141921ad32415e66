"""Whether a version of an engine answers as it should; `serve.engines.triton.manifests` checks its files."""

from __future__ import annotations

import numpy as np

from serve.engines.client import EngineClient
from serve.errors import AtelierError, Conflict

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
