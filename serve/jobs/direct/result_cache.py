"""`ResultCache`: what requests came to before. A request that must give the same answer gets the stored one.

Its key is the hash of everything that decides the answer: the request with its defaults written out, the seed, the
input's own hash, the versions of the engines and of this software (A-080, C-090).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.illustrator.illustration import ILLUSTRATE
from serve.ensembles.info_cache import EnsembleInfoCache
from serve.ensembles.requests import File, IllustrateRequest, JobRequest, Outcome, digest, without_cost
from serve.ensembles.vectorizer.vectorization import is_lasting
from serve.errors import NotFound
from serve.state import State
from serve.state.cache import Cache
from serve.state.objects import Stored

SOFTWARE = version("atelier")


@dataclass(frozen=True)
class Key:
    """``versions`` of the engines, by name, are part of ``text``."""

    text: str
    kind: str
    versions: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class CachedResult:
    """``stored`` says where the files of ``outcome`` are; ``objects`` also names what they were made from."""

    outcome: Outcome
    stored: Sequence[Stored]
    objects: Sequence[str]


class ResultCache:
    """For one event loop. Every method raises StateUnavailable, and OutOfSpace where it writes."""

    def __init__(self, state: State, known: EnsembleInfoCache) -> None:
        self.cache = Cache(state)
        self._objects = state.objects
        self._settings = state.settings
        self._known = known

    async def key_of(self, request: JobRequest, document: Mapping[str, Any] | None = None) -> Key | None:
        """None: the answer may differ each time, or nothing is remembered here.

        ``request`` has its defaults written out; ``document`` is its JSON, for who has it already.
        """
        if not request.repeatable or not self.cache.enabled:
            return None
        versions: dict[str, str] = {}
        if isinstance(request, IllustrateRequest):
            versions |= labels_of(await self._known.illustrator_versions(), request.options.engine_versions)
        if not isinstance(request, IllustrateRequest) or request.encoding.format == "svg":
            versions |= labels_of(await self._known.vectorizer_versions(), request.options.engine_versions)
        text = digest([request.kind, document or request.to_json(), versions, SOFTWARE, *self._site(request)])
        return Key(text, request.kind, versions)

    def _site(self, request: JobRequest) -> list[Any]:
        """What the site's settings change about the answer."""
        if not isinstance(request, IllustrateRequest):
            return []
        found = [self._settings.moderation] if self._settings.moderation.policy != "off" else []
        decided: list[Any] = [one.model_dump(mode="json") for one in found]
        return [*decided, self._settings.provenance.model_dump(mode="json")] if request.encoding.c2pa else decided

    async def recall(self, key: Key) -> CachedResult | None:
        found = await self.cache.get(key.text)
        if found is None:
            return None
        answer = found.answer
        files, stored = [], []
        try:
            for told in answer["files"]:
                data = await self._objects.get(told["object"])
                stored.append(Stored(told["object"], len(data)))
                files.append(File(data, told["media_type"], told["width"], told["height"], told["seed"]))
        except NotFound:
            await self.cache.forget(key.text)
            return None
        outcome = Outcome(files, answer["details"], answer["model"], answer["generation_time_s"])
        return CachedResult(outcome, stored, found.objects)

    async def keep(
        self,
        connection: AsyncConnection,
        key: Key,
        outcome: Outcome,
        stored: Sequence[Stored],
        inputs: Sequence[Stored] = (),
    ) -> None:
        """Unless another attempt might do better, nobody looked at the pictures who should have, somebody stood in for
        the Illustrator, or engines answered of which ``key`` does not tell.

        ``inputs`` stay as long as the answer does.
        """
        used = outcome.details.get("model_versions", {})
        if not is_lasting(outcome.details.get("degraded", ())):
            return
        if outcome.details.get("served_by", ILLUSTRATE) != ILLUSTRATE:
            return
        if outcome.details.get("moderation", {}).get("unchecked"):
            return
        if any(key.versions.get(engine) != told for engine, told in used.items()):
            return
        await self.cache.put(connection, key.text, key.kind, _answer(outcome, stored), [*inputs, *stored])


def labels_of(known: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, str]:
    """What the versions are called that the request gets, by engine; ``known`` as ensembles tell it."""
    engines = [name for name in known if "/" not in name]
    return {name: known.get(f"{name}/{chosen[name]}", "unknown") if name in chosen else known[name] for name in engines}


def _answer(outcome: Outcome, stored: Sequence[Stored]) -> dict[str, Any]:
    """Without its cost: whoever finds it has none."""
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
