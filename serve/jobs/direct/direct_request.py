"""One synchronous request: its caller, its parameters, the function that runs it, and its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from serve.ensembles.illustrator.illustration import RANDOM_SEED
from serve.ensembles.requests import File, IllustrateRequest, JobRequest, Outcome, digest
from serve.jobs.direct.in_flight import IdempotencyClaim
from serve.releases.experiments.assignment import Exposure
from serve.releases.flags import unit_of
from serve.state.job_states import ANONYMOUS as ANONYMOUS
from serve.state.job_states import new_id

CacheStatus = Literal["hit", "miss", "bypass"]
HIT: CacheStatus = "hit"
MISS: CacheStatus = "miss"
BYPASS: CacheStatus = "bypass"
"""The cache was not consulted."""


@dataclass(frozen=True)
class Caller:
    """Who sends a request, and how. ``bypass_cache``: neither a stored answer nor a request in flight may be used.
    ``store``: whether the answer may be cached. ``grace_s``: how long the work continues after the caller has
    disconnected, since a retry may follow. ``is_retry``: the client marks the request as a retry, so a result completed
    within ``grace_s`` is the one that it missed."""

    user_id: str = ANONYMOUS
    idempotency_key: str | None = None
    bypass_cache: bool = False
    store: bool = True
    grace_s: float = 0.0
    is_retry: bool = False


@dataclass(frozen=True, eq=False)
class Answer:
    """``result_ids`` in the order of the files; ``kept``: whether the results can be fetched later by these ids."""

    generation_id: str
    files: Sequence[File]
    result_ids: Sequence[str]
    details: dict[str, Any]
    generation_time_s: float
    cache: CacheStatus = BYPASS
    kept: bool = False

    @property
    def cached(self) -> bool:
        return self.cache == HIT


@dataclass(frozen=True, eq=False)
class DirectRequest:
    """``original`` as received, ``request`` with its defaults filled in; ``run`` executes it with the ensembles.

    ``inputs`` are stored with the results. Waiting for an identical request on another gateway ends after
    ``timeout_s``.
    """

    original: JobRequest
    request: JobRequest
    caller: Caller
    run: Callable[[Any], Awaitable[Outcome]]
    timeout_s: float
    inputs: Sequence[tuple[bytes, str]] = ()
    joinable: bool = True
    """Whether an identical request of the same user, without an idempotency key, may share the answer."""
    exposures: Sequence[Exposure] = ()
    """The experiment arm of ``request``, and the versions of its engines."""

    @cached_property
    def document(self) -> dict[str, Any]:
        """``request`` as JSON."""
        return self.request.to_json()

    @cached_property
    def claim(self) -> IdempotencyClaim | None:
        return claim_of(self.original, self.caller)

    @cached_property
    def flight_key(self) -> str:
        """Identifies the request while it is in flight: equal keys share one execution."""
        if self.claim is not None:
            return digest(["key", self.claim.user_id, self.claim.key])
        if self.caller.bypass_cache or not self.joinable:
            return new_id()
        return digest(["request", self.caller.user_id, without_seed(self.document)])


def claim_of(original: JobRequest, caller: Caller) -> IdempotencyClaim | None:
    """What the caller's idempotency key stands for; LoRAs by their names, whatever files they are now."""
    if caller.idempotency_key is None:
        return None
    sent = original.without_lora_files() if isinstance(original, IllustrateRequest) else original
    # Differs from the hash of a job's body: one key cannot identify both a job and a synchronous request.
    return IdempotencyClaim(caller.user_id, caller.idempotency_key, digest(["direct", sent.to_json()]))


def with_seed(request: JobRequest) -> JobRequest:
    return request.seeded() if isinstance(request, IllustrateRequest) else request


def without_seed(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request's JSON without its seed if the seed is random, whether omitted, -1 or drawn."""
    options = document["options"]
    if options.get("seed") != RANDOM_SEED and document.get("seed_named", True):
        return document
    kept = {name: value for name, value in document.items() if name != "seed_named"}
    return {**kept, "options": {**options, "seed": None}}


def assignment_unit(original: JobRequest, user_id: str) -> str:
    """The unit that experiment arms and engine versions are assigned to: the user, or for anonymous requests the
    request itself, so that a repeated request gets the same assignment and finds the stored answer."""
    return unit_of(user_id, digest(without_seed(original.to_json())) if user_id == ANONYMOUS else None)
