"""What Ray keeps alive: the gateway with both doors, an ensemble with its Triton, the worker of the queue."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from typing import Any

from fastapi import FastAPI
from ray.serve.handle import DeploymentHandle

from serve.api.app import create_app
from serve.api.inference.grpc import OpenInferenceServicer
from serve.api.inference.models import Models
from serve.api.middleware import authentication
from serve.api.middleware.authentication import Authentication
from serve.cluster.autoscaling import TURNS, WORKERS
from serve.cluster.ray_process import prepare, settled
from serve.cluster.remote import RemoteIllustrator, RemoteVectorizer, idle_state_of
from serve.cluster.scale_to_zero import IdleState
from serve.ensembles.illustrator.illustration import ILLUSTRATE
from serve.ensembles.vectorizer.vectorization import VECTORIZE
from serve.errors import AtelierError, EngineFailure
from serve.jobs.direct.service import DirectService
from serve.observability import request_context, tracing
from serve.observability.request_context import DEFAULT_URGENCY, Urgency
from serve.observability.tracing import export
from serve.releases.fallback.site import with_fallback
from serve.releases.fallback.watched_vectorizer import WatchedVectorizer
from serve.releases.rollouts.version_reconciler import VersionReconciler, wanted_now
from serve.security.limits.admission_queue import AdmissionQueue
from serve.security.moderation.moderated import engines_of, moderated
from serve.settings import IllustratorSettings, Settings, VectorizerSettings
from serve.state import State

LOGGER = logging.getLogger(__name__)

APPLICATION = "atelier"
WORK = ("vectorize", "analyze", "draw", "infer")
"""The methods of ensembles that take a turn; every stream does."""
NICENESS = 5
"""Of ensembles: a gateway that asks for the processor gets three times as much of it."""


class Replica:
    """Owns an ensemble, with its Triton, for as long as Ray keeps this replica.

    Work takes turns here and not in Ray Serve's queue, where it would keep those waiting who only ask how it is.
    """

    _ensemble: Any
    _turns: AdmissionQueue
    _steward: VersionReconciler

    async def call(
        self,
        method: str,
        context: Mapping[str, str],
        *arguments: Any,
        urgency: Urgency = DEFAULT_URGENCY,
        **named: Any,
    ) -> Any:
        """What the ensemble's ``method`` returns or raises: errors of ours as values, see `serve.cluster.remote`.

        ``context`` is what the caller carried along (`serve.observability.tracing.carried`).
        """
        try:
            with self._entered(method, context):
                if method not in WORK:
                    return await getattr(self._ensemble, method)(*arguments, **named)
                with request_context.use(request_context.from_urgency(urgency)):
                    async with self._turns.taken():
                        tracing.event("turn")
                        return await getattr(self._ensemble, method)(*arguments, **named)
        except AtelierError as error:
            return error
        except Exception:
            return self._unforeseen()

    async def answer(self, *arguments: Any, **named: Any) -> AsyncIterator[Any]:
        """`call`, as a stream of one item: Ray tells that a replica has taken a stream before it has its first item."""
        yield await self.call(*arguments, **named)

    async def stream(
        self, method: str, context: Mapping[str, str], *arguments: Any, urgency: Urgency = DEFAULT_URGENCY
    ) -> AsyncIterator[Any]:
        """What the ensemble's ``method`` yields; an error of ours is the last item."""
        try:
            request_context.set_current(request_context.from_urgency(urgency))
            with self._entered(method, context):
                async with (
                    self._turns.taken(),
                    contextlib.aclosing(getattr(self._ensemble, method)(*arguments)) as items,
                ):
                    tracing.event("turn")
                    async for item in items:
                        yield item
        except AtelierError as error:
            yield error
        except Exception:
            yield self._unforeseen()

    def _unforeseen(self) -> EngineFailure:
        """Instead of what `_entered` has written down: no trace and no address leaves the process."""
        return EngineFailure(f"an internal error of the {self._name()}; the log has it")

    def _name(self) -> str:
        return type(self).__name__.removesuffix("Replica")

    @contextlib.contextmanager
    def _entered(self, method: str, context: Mapping[str, str]) -> Iterator[None]:
        """What nobody foresaw is written down here, where it is known which request it was."""
        with tracing.continued(f"{self._name()}.{method}", context):
            try:
                yield
            except AtelierError as error:
                if error.status == EngineFailure.status:
                    LOGGER.error("%s failed: %s", method, error)
                raise
            except Exception:
                LOGGER.exception("%s failed", method)
                raise

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Ray Serve asks for it; `serve.cluster.autoscaling` decides by it."""
        return {TURNS: float(self._turns.here)}

    async def _begin(self, settings: Settings, own: VectorizerSettings | IllustratorSettings) -> None:
        """Once the ensemble is made. From then on its engines have the versions that the site wants."""
        await self._ensemble.start()
        self._steward = VersionReconciler(settings, self._ensemble.engine_set, own.model_repository)
        self._steward.start()
        settled()

    async def __del__(self) -> None:
        if hasattr(self, "_steward"):
            await self._steward.close()
        if hasattr(self, "_ensemble"):
            await self._ensemble.close()
        await asyncio.to_thread(export.stop)


class VectorizerReplica(Replica):
    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        prepare(settings, "Vectorizer", NICENESS)
        from serve.ensembles.vectorizer.vectorizer import Vectorizer  # here: the gateway has no use for tracers

        self._turns = admission_queue_of(settings.vectorizer, VECTORIZE)
        self._ensemble = Vectorizer(settings.vectorizer, engine_versions=await wanted_now(settings))
        await self._begin(settings, settings.vectorizer)


class IllustratorReplica(Replica):
    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        prepare(settings, "Illustrator", NICENESS)
        from serve.ensembles.illustrator.illustrator import Illustrator  # here: nor for a Triton and tokenizers

        self._turns = admission_queue_of(settings.illustrator, ILLUSTRATE)
        others, wanted = engines_of(settings.moderation), await wanted_now(settings)
        illustrator = Illustrator(settings.illustrator, others=others, engine_versions=wanted)
        self._ensemble = moderated(illustrator, settings.moderation)
        await self._begin(settings, settings.illustrator)


class WorkerReplica:
    """Does the jobs of the queue, by the other replicas, for as long as Ray keeps it."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, vectorizer: DeploymentHandle[Any], illustrator: DeploymentHandle[Any] | None, settings: Settings
    ) -> None:
        prepare(settings, "Worker")
        from serve.api.http.urls import own_url
        from serve.jobs.worker.site import SiteWorker

        self._worker = await SiteWorker.started(
            settings,
            remote_vectorizer(vectorizer, settings),
            remote_illustrator(illustrator, settings) if illustrator else None,
            own_url(settings),
        )
        settled()

    async def check_health(self) -> None:
        """Ray Serve replaces a replica that raises."""
        self._worker.check()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Ray Serve asks for it; `serve.cluster.autoscaling` decides by it."""
        wanted = await self._worker.wanted()
        return {} if wanted is None else {WORKERS: float(wanted)}

    async def __del__(self) -> None:
        if hasattr(self, "_worker"):
            await self._worker.close()
        await asyncio.to_thread(export.stop)


def remote_vectorizer(handle: DeploymentHandle[Any], settings: Settings) -> RemoteVectorizer:
    own = settings.vectorizer
    return RemoteVectorizer(_by_grpc(handle), own.timeout_s, _sleep("Vectorizer", own))


def remote_illustrator(handle: DeploymentHandle[Any], settings: Settings) -> RemoteIllustrator:
    own = settings.illustrator
    return RemoteIllustrator(_by_grpc(handle), own.timeout_s, _sleep("Illustrator", own))


def _by_grpc(handle: DeploymentHandle[Any]) -> DeploymentHandle[Any]:
    """Not by calls of actors: of these a replica waits, at the end of each, until the caller has all that was yielded,
    and does nothing else meanwhile (Ray 2.60). A gateway that stands still would stop every replica that it asked."""
    return handle.options(stream=True, _by_reference=False)


def _sleep(name: str, own: VectorizerSettings | IllustratorSettings) -> IdleState | None:
    return idle_state_of(APPLICATION, name) if own.min_replicas == 0 else None


def admission_queue_of(own: VectorizerSettings | IllustratorSettings, ensemble: str) -> AdmissionQueue:
    return AdmissionQueue(own.max_ongoing_requests, own.max_queued_requests, ensemble)


class Gateway(OpenInferenceServicer):
    """Both doors: the HTTP application, and the servicer's methods for gRPC."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self,
        vectorizer: DeploymentHandle[Any],
        illustrator: DeploymentHandle[Any] | None,
        _worker: DeploymentHandle[Any],
        settings: Settings,
    ) -> None:
        """``_worker`` is not called: gateways and workers meet in the database."""
        prepare(settings, "Gateway")
        service = WatchedVectorizer(remote_vectorizer(vectorizer, settings), settings.fallback.breaker)
        self._state = await State.open_patiently(settings)
        remote = remote_illustrator(illustrator, settings) if illustrator else None
        draws = with_fallback(remote, self._state) if remote is not None else None
        self._direct = DirectService(self._state, draws, service, settings)
        await self._direct.start()
        self._entrance = await Authentication.opened(self._state)
        authentication.open_here(self._entrance)
        state, direct = self._state, self._direct
        self._app = partial(
            create_app, service, settings, illustrator=draws, state=state, direct=direct, entrance=self._entrance
        )
        models = Models(service, settings, draws, self._direct.choosing, state.database)
        super().__init__(models, settings, self._entrance)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Ray Serve asks for the application once the constructor has run."""
        app = self._app(models=self._models)
        settled()
        return app

    async def __del__(self) -> None:
        if hasattr(self, "_entrance"):
            authentication.open_here(None)
            await self._entrance.close()
        if hasattr(self, "_direct"):
            await self._direct.close()
            await self._state.close()
        await asyncio.to_thread(export.stop)
