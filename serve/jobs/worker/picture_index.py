"""Indexes new results for search by likeness, a few at a time, apart from the requests that made them."""

from __future__ import annotations

import asyncio
import logging

import numpy as np
import numpy.typing as npt

from serve.ensembles.embedder import Embedder
from serve.errors import InvalidRequest, NotFound
from serve.state import State, embeddings
from serve.state.embeddings import Pending

LOGGER = logging.getLogger(__name__)

BATCH = 16


async def index_pictures(state: State, embedder: Embedder) -> int:
    """Indexes up to BATCH results; returns how many. What cannot be read is noted as such, and not tried again.

    Several processes may do the same result: the outcome is the same. Raises StateUnavailable.
    """
    found = await embeddings.pending(state.database, embedder.engine, BATCH)
    if found:
        vectors = [(one.result_id, await _embedded(state, embedder, one)) for one in found]
        await embeddings.store(state.database, embedder.engine, vectors)
    return len(found)


async def _embedded(state: State, embedder: Embedder, one: Pending) -> npt.NDArray[np.float32] | None:
    try:
        data = await state.objects.get(one.object)
        return await asyncio.to_thread(embedder.picture, data, one.media_type)
    except (InvalidRequest, NotFound) as error:
        LOGGER.info("result %s is not found by likeness: %s", one.result_id, error)
        return None
