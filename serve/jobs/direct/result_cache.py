"""`ResultCache` and `AnalysisCache`: stored answers for requests that must give the same answer again.

The key is a hash of everything that determines the answer: the request with its defaults filled in, the seed, the
input's content hash, the versions of the engines and of this software (A-080, C-090).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.illustrator.illustration import ILLUSTRATE
from serve.ensembles.info_cache import EnsembleInfoCache
from serve.ensembles.requests import (
    CaptionRequest,
    File,
    IllustrateRequest,
    JobRequest,
    Outcome,
    RetrainRequest,
    VectorizeRequest,
    digest,
    without_cost,
)
from serve.ensembles.vectorizer.vectorization import VectorizerService, is_lasting
from serve.errors import NotFound, OutOfSpace, StateUnavailable
from serve.jobs.direct.direct_request import BYPASS, HIT, MISS, CacheStatus, Caller
from serve.observability.metrics.catalogue import CACHE_LOOKUPS
from serve.state import State
from serve.state.cache import ANALYSIS, Cache, CachedAnswer
from serve.state.objects.names import Stored
from serve.state.tables import utc_now
from serve.state.write_batches import Write, execute

SOFTWARE = version("atelier")
RECENT_RESULTS = 1024
RECENT_BYTES = 32 * 1024**2
"""Of files, in a process's memory."""


@dataclass(frozen=True)
class CacheKey:
    """``versions``: engine versions by name, which are part of ``text``."""

    text: str
    kind: str
    versions: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class CachedResult:
    """``stored`` locates the files of ``outcome``; ``objects`` also lists the inputs."""

    outcome: Outcome
    stored: Sequence[Stored]
    objects: Sequence[str]


class RecentResults:
    """Stored results that this process read within the last ``lifetime_s`` seconds, at most `RECENT_BYTES` of files."""

    def __init__(self, lifetime_s: float) -> None:
        self._lifetime = timedelta(seconds=lifetime_s)
        self._kept: OrderedDict[str, tuple[CachedResult, datetime, datetime]] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> CachedResult | None:
        if (kept := self._kept.get(key)) is None:
            return None
        result, since, until = kept
        if since <= utc_now() < until:
            return result
        self.drop(key)
        return None

    def put(self, key: str, result: CachedResult, expires_at: datetime) -> None:
        now = utc_now()
        self.drop(key)
        if not self._lifetime or _bytes(result) > RECENT_BYTES:
            return
        while self._kept and (len(self._kept) >= RECENT_RESULTS or next(iter(self._kept.values()))[2] <= now):
            self.drop(next(iter(self._kept)))
        self._kept[key] = result, now, min(now + self._lifetime, expires_at)
        self._bytes += _bytes(result)
        while self._bytes > RECENT_BYTES:
            self.drop(next(iter(self._kept)))

    def drop(self, key: str) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._bytes -= _bytes(kept[0])


def _bytes(result: CachedResult) -> int:
    return sum(one.bytes for one in result.stored)


class ResultCache:
    """For one event loop. Every method raises StateUnavailable, and OutOfSpace where it writes."""

    def __init__(self, state: State, ensemble_info: EnsembleInfoCache) -> None:
        self.cache = Cache(state)
        self._objects = state.objects
        self._settings = state.settings
        self._ensemble_info = ensemble_info
        self._recent = RecentResults(state.settings.cache.recent_s)

    async def key_of(self, request: JobRequest, document: Mapping[str, Any] | None = None) -> CacheKey | None:
        """None if the answer may differ each time, or the cache is disabled.

        ``request`` has its defaults filled in; ``document`` is its JSON, if already computed.
        """
        if not request.repeatable or not self.cache.enabled or isinstance(request, CaptionRequest | RetrainRequest):
            return None
        versions: dict[str, str] = {}
        if isinstance(request, IllustrateRequest):
            versions |= version_labels(
                await self._ensemble_info.illustrator_versions(), request.options.engine_versions
            )
        if isinstance(request, VectorizeRequest) or request.encoding.format == "svg":
            versions |= version_labels(await self._ensemble_info.vectorizer_versions(), request.options.engine_versions)
        text = digest([request.kind, document or request.to_json(), versions, SOFTWARE, *self._site_settings(request)])
        return CacheKey(text, request.kind, versions)

    def _site_settings(self, request: JobRequest) -> list[Any]:
        """The site settings that affect the answer."""
        if not isinstance(request, IllustrateRequest):
            return []
        found = [self._settings.moderation] if self._settings.moderation.policy != "off" else []
        decided: list[Any] = [one.model_dump(mode="json") for one in found]
        return [*decided, self._settings.provenance.model_dump(mode="json")] if request.encoding.c2pa else decided

    async def get(self, key: CacheKey) -> CachedResult | None:
        if (recent := self._recent.get(key.text)) is not None:
            CACHE_LOOKUPS.add(1, "hit")
            return recent
        found = await self.cache.get(key.text)
        if found is None:
            return None
        answer = found.answer
        files, stored = [], []
        try:
            for file in answer["files"]:
                data = await self._objects.get(file["object"])
                stored.append(Stored(file["object"], len(data)))
                files.append(File(data, file["media_type"], file["width"], file["height"], file["seed"]))
        except NotFound:
            await self.delete(key)
            return None
        outcome = Outcome(files, answer["details"], answer["model"], answer["generation_time_s"])
        result = CachedResult(outcome, stored, found.objects)
        self._recent.put(key.text, result, found.expires_at)
        return result

    async def delete(self, key: CacheKey) -> None:
        """For an answer whose objects are gone."""
        self._recent.drop(key.text)
        await self.cache.delete(key.text)

    async def put(self, connection: AsyncConnection, key: CacheKey, outcome: Outcome, stored: Sequence[Stored]) -> None:
        """`writes` in the transaction of ``connection``."""
        await execute(connection, self.writes(key, outcome, stored))

    def writes(
        self, key: CacheKey, outcome: Outcome, stored: Sequence[Stored], inputs: Sequence[Stored] = ()
    ) -> list[Write]:
        """The writes that store the outcome; none when another attempt might do better, moderation was not complete, a
        fallback replaced the Illustrator, or an engine version is not the one in ``key``.

        ``inputs`` are kept as long as the answer.
        """
        used = outcome.details.get("model_versions", {})
        if not is_lasting(outcome.details.get("degraded", ())):
            return []
        if outcome.details.get("served_by", ILLUSTRATE) != ILLUSTRATE:
            return []
        if outcome.details.get("moderation", {}).get("unchecked"):
            return []
        if any(key.versions.get(engine) != file for engine, file in used.items()):
            return []
        return self.cache.writes(key.text, key.kind, _to_json(outcome, stored), [*inputs, *stored])


def version_labels(labels: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, str]:
    """The version labels of the engines that the request gets; ``labels`` has those of all versions."""
    engines = [name for name in labels if "/" not in name]
    return {
        name: labels.get(f"{name}/{chosen[name]}", "unknown") if name in chosen else labels[name] for name in engines
    }


def _to_json(outcome: Outcome, stored: Sequence[Stored]) -> dict[str, Any]:
    """Without the cost: a cached answer has none."""
    return {
        "files": [
            {
                "object": kept.name, "media_type": file.media_type, "width": file.width, "height": file.height,
                "seed": file.seed,
            }
            for file, kept in zip(outcome.files, stored, strict=True)
        ],
        "details": without_cost(outcome.details),
        "model": outcome.model,
        "generation_time_s": outcome.generation_time_s,
    }  # fmt: skip


class AnalysisCache:
    """For one event loop. Database failures do not fail an analysis. They are not part of a user's history (D-014)."""

    def __init__(self, state: State, cache: Cache, ensemble_info: EnsembleInfoCache) -> None:
        self._state = state
        self._cache = cache
        self._ensemble_info = ensemble_info

    async def analyze(
        self, image: bytes, vectorizer: VectorizerService, caller: Caller, engine_versions: Mapping[str, str]
    ) -> tuple[Mapping[str, Any], CacheStatus]:
        """An `Analysis` as JSON, and the cache status. Raises what ``vectorizer`` raises."""
        if not self._cache.enabled:
            return asdict(await vectorizer.analyze(image, engine_versions)), BYPASS
        content = await asyncio.to_thread(lambda: hashlib.sha256(image).hexdigest())
        key = digest(
            [
                ANALYSIS,
                content,
                version_labels(await self._ensemble_info.vectorizer_versions(), engine_versions),
                SOFTWARE,
            ]
        )
        if not caller.bypass_cache and (found := await self._get(key)) is not None:
            return found.answer, HIT
        analysis = asdict(await vectorizer.analyze(image, engine_versions))
        if caller.store and not analysis["degraded"]:
            await self._put(key, analysis)
        return analysis, BYPASS if caller.bypass_cache else MISS

    async def _get(self, key: str) -> CachedAnswer | None:
        with contextlib.suppress(StateUnavailable, OutOfSpace):
            return await self._cache.get(key)
        return None

    async def _put(self, key: str, analysis: Mapping[str, Any]) -> None:
        with contextlib.suppress(StateUnavailable, OutOfSpace):
            if writes := self._cache.writes(key, ANALYSIS, analysis):
                await self._state.database.write_batch(writes)
            if self._cache.needs_eviction:
                await self._cache.evict(self._state)
