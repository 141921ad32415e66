"""`ResultCache` and `AnalysisCache`: stored answers for requests that must give the same answer again.

The key is a hash of everything that determines the answer: the request with its defaults filled in, the seed, the
input's content hash, the versions of the engines and of this software (A-080, C-090).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.illustrator.illustration import ILLUSTRATE
from serve.ensembles.info_cache import EnsembleInfoCache
from serve.ensembles.requests import File, IllustrateRequest, JobRequest, Outcome, digest, without_cost
from serve.ensembles.vectorizer.vectorization import VectorizerService, is_lasting
from serve.errors import NotFound, OutOfSpace, StateUnavailable
from serve.jobs.direct.direct_request import BYPASS, HIT, MISS, CacheStatus, Caller
from serve.state import State
from serve.state.cache import ANALYSIS, Cache, CachedAnswer
from serve.state.objects import Stored
from serve.state.write_batches import Write, execute

SOFTWARE = version("atelier")


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


class ResultCache:
    """For one event loop. Every method raises StateUnavailable, and OutOfSpace where it writes."""

    def __init__(self, state: State, ensemble_info: EnsembleInfoCache) -> None:
        self.cache = Cache(state)
        self._objects = state.objects
        self._settings = state.settings
        self._ensemble_info = ensemble_info

    async def key_of(self, request: JobRequest, document: Mapping[str, Any] | None = None) -> CacheKey | None:
        """None if the answer may differ each time, or the cache is disabled.

        ``request`` has its defaults filled in; ``document`` is its JSON, if already computed.
        """
        if not request.repeatable or not self.cache.enabled:
            return None
        versions: dict[str, str] = {}
        if isinstance(request, IllustrateRequest):
            versions |= version_labels(
                await self._ensemble_info.illustrator_versions(), request.options.engine_versions
            )
        if not isinstance(request, IllustrateRequest) or request.encoding.format == "svg":
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
            await self.cache.delete(key.text)
            return None
        outcome = Outcome(files, answer["details"], answer["model"], answer["generation_time_s"])
        return CachedResult(outcome, stored, found.objects)

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
