"""Analyses of pictures, which are given again for a while and are no part of anybody's history (D-014)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from serve.ensembles.info_cache import EnsembleInfoCache
from serve.ensembles.requests import digest
from serve.ensembles.vectorizer.vectorization import VectorizerService
from serve.errors import OutOfSpace, StateUnavailable
from serve.jobs.direct.direct_request import BYPASS, HIT, MISS, CacheWord, Caller
from serve.jobs.direct.result_cache import SOFTWARE, labels_of
from serve.state import State
from serve.state.cache import ANALYSIS, Cache, CachedAnswer


class Analyses:
    """For one event loop. Whatever the database does, a picture can be analysed."""

    def __init__(self, state: State, cache: Cache, known: EnsembleInfoCache) -> None:
        self._state = state
        self._cache = cache
        self._known = known

    async def of(
        self, image: bytes, vectorizer: VectorizerService, caller: Caller, engine_versions: Mapping[str, str]
    ) -> tuple[Mapping[str, Any], CacheWord]:
        """An `Analysis` as JSON, and what the cache had to do with it. Raises what ``vectorizer`` raises."""
        if not self._cache.enabled:
            return asdict(await vectorizer.analyze(image, engine_versions)), BYPASS
        content = await asyncio.to_thread(lambda: hashlib.sha256(image).hexdigest())
        key = digest([ANALYSIS, content, labels_of(await self._known.vectorizer_versions(), engine_versions), SOFTWARE])
        if not caller.fresh and (found := await self._find(key)) is not None:
            return found.answer, HIT
        analysis = asdict(await vectorizer.analyze(image, engine_versions))
        if caller.store and not analysis["degraded"]:
            await self._keep(key, analysis)
        return analysis, BYPASS if caller.fresh else MISS

    async def _find(self, key: str) -> CachedAnswer | None:
        with contextlib.suppress(StateUnavailable, OutOfSpace):
            return await self._cache.get(key)
        return None

    async def _keep(self, key: str, analysis: Mapping[str, Any]) -> None:
        with contextlib.suppress(StateUnavailable, OutOfSpace):
            async with self._state.database.write() as connection:
                await self._cache.put(connection, key, ANALYSIS, analysis)
            if self._cache.is_over:
                await self._cache.evict(self._state)
