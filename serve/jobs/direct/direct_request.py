"""One request of a direct door: who asks for what, how it is done, and what is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from serve.ensembles.illustrator.encoding import SignsFiles, encode_all
from serve.ensembles.illustrator.illustration import RANDOM_SEED, Illustration, IllustratorService
from serve.ensembles.requests import File, IllustrateRequest, JobRequest, Outcome, VectorizeRequest, digest
from serve.ensembles.vectorizer.vectorization import Vectorization, VectorizeOptions, Vectorizes
from serve.jobs.direct.in_flight import Claim
from serve.jobs.outcomes import of_illustration, of_vectorization
from serve.observability.costs import total
from serve.releases.experiments.exposures import Exposure
from serve.releases.flags.flag import unit_of
from serve.state.job_states import ANONYMOUS as ANONYMOUS
from serve.state.job_states import new_id

CacheWord = Literal["hit", "miss", "bypass"]
HIT: CacheWord = "hit"
MISS: CacheWord = "miss"
BYPASS: CacheWord = "bypass"
"""Nothing was looked up."""


@dataclass(frozen=True)
class Caller:
    """Who asks, and how. ``fresh``: nothing that is stored and nothing that is under way will do; ``store``: whether
    the answer may be given again. ``patience_s``: how long it goes on once the caller is gone, who may ask again.
    ``repeats``: it says itself that it asks again; what was done within ``patience_s`` is what it did not get."""

    user_id: str = ANONYMOUS
    idempotency_key: str | None = None
    fresh: bool = False
    store: bool = True
    patience_s: float = 0.0
    repeats: bool = False


@dataclass(frozen=True, eq=False)
class Answer:
    """``result_ids`` in the order of the files; ``kept``: whether they can be asked for again, by these."""

    generation_id: str
    files: Sequence[File]
    result_ids: Sequence[str]
    details: dict[str, Any]
    generation_time_s: float
    cache: CacheWord = BYPASS
    kept: bool = False

    @property
    def cached(self) -> bool:
        return self.cache == HIT


@dataclass(frozen=True, eq=False)
class DirectRequest:
    """``asked`` as it came, ``request`` with its defaults written out; ``do`` has the ensembles do it.

    ``inputs`` are kept beside what it comes to. Waiting for the same request elsewhere ends after ``limit_s``.
    """

    asked: JobRequest
    request: JobRequest
    caller: Caller
    do: Callable[[Any], Awaitable[Outcome]]
    limit_s: float
    inputs: Sequence[tuple[bytes, str]] = ()
    joins: bool = True
    """Whether the same request without an idempotency key, of the same user, may be answered with it."""
    exposures: Sequence[Exposure] = ()
    """The arm of an experiment that ``request`` has, and the versions of engines."""

    @cached_property
    def document(self) -> dict[str, Any]:
        """``request`` as JSON."""
        return self.request.to_json()

    @cached_property
    def claim(self) -> Claim | None:
        key = self.caller.idempotency_key
        # Not the hash of a job's body: one key cannot stand for a job and for this.
        return None if key is None else Claim(self.caller.user_id, key, digest(["direct", self.asked.to_json()]))

    @cached_property
    def flight(self) -> str:
        """What is the same while it is under way."""
        if self.claim is not None:
            return digest(["key", self.claim.user_id, self.claim.key])
        if self.caller.fresh or not self.joins:
            return new_id()
        return digest(["request", self.caller.user_id, unseeded(self.document)])


def seeded(request: JobRequest) -> JobRequest:
    return request if isinstance(request, VectorizeRequest) else request.seeded()


def unseeded(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Every word for "any seed" is the same, and so is a seed that was drawn for it."""
    options = document["options"]
    if options.get("seed") != RANDOM_SEED and document.get("seed_named", True):
        return document
    kept = {name: value for name, value in document.items() if name != "seed_named"}
    return {**kept, "options": {**options, "seed": None}}


def unit_for(asked: JobRequest, user_id: str) -> str:
    """Whom arms and versions are chosen for. Of who is not known the same request is the same unit: asked again, it
    joins and finds what it did before."""
    return unit_of(user_id, digest(unseeded(asked.to_json())) if user_id == ANONYMOUS else None)


async def drawn(
    request: IllustrateRequest,
    illustrator: IllustratorService,
    vectorizer: Vectorizes,
    signer: SignsFiles | None = None,
) -> Outcome:
    return await encoded(await illustrator.draw(request.options), request, vectorizer, signer)


async def encoded(
    illustration: Illustration, request: IllustrateRequest, vectorizer: Vectorizes, signer: SignsFiles | None = None
) -> Outcome:
    """Tells in ``degraded`` what drawings had to do without, if they had."""
    noting = _Noting(vectorizer, request.options.engine_versions)
    files = await encode_all(illustration, request.encoding, noting, signer)
    outcome = of_illustration(illustration, request.encoding, files, request.more)
    more: dict[str, Any] = {"degraded": list(dict.fromkeys(noting.degraded))} if noting.degraded else {}
    if noting.costs:
        more["cost"] = total(illustration.cost, *noting.costs)
    return replace(outcome, details={**outcome.details, **more}) if more else outcome


async def traced(image: bytes, options: VectorizeOptions, vectorizer: Vectorizes) -> Outcome:
    return of_vectorization(await vectorizer.vectorize(image, options))


class _Noting:
    """A Vectorizer that asks the same versions as the drawing did, and remembers what was done instead of what was
    asked, and what it cost."""

    def __init__(self, vectorizer: Vectorizes, engine_versions: Mapping[str, str]) -> None:
        self._vectorizer = vectorizer
        self._engine_versions = engine_versions
        self.degraded: list[str] = []
        self.costs: list[Mapping[str, float]] = []

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        found = await self._vectorizer.vectorize(data, replace(options, engine_versions=self._engine_versions))
        self.degraded += found.degraded
        self.costs += [found.cost] if found.cost else []
        return found
