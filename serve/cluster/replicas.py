"""Ray Serve replicas: the gateway with HTTP and gRPC, the ensembles with their Triton, the worker of the queue.

Every process of the stack imports this module, the one of `atelier up` too, so that each replica imports its own parts
in its constructor.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ray.serve.handle import DeploymentHandle

from serve.cluster.autoscaling import ONGOING_REQUESTS, WANTED_WORKERS
from serve.cluster.hop.call_server import CALL_ADDRESS, CallServer
from serve.cluster.ray_environment import max_message_bytes
from serve.cluster.ray_process import freeze_gc, prepare
from serve.ensembles.illustrator.illustration import ILLUSTRATE
from serve.ensembles.vectorizer.vectorization import VECTORIZE
from serve.errors import AtelierError, EngineFailure, EngineUnavailable
from serve.observability import request_context, tracing
from serve.observability.request_context import DEFAULT_URGENCY, Urgency
from serve.observability.tracing import export
from serve.security.limits.admission_queue import AdmissionQueue
from serve.settings import IllustratorSettings, Settings, VectorizerSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from serve.cluster.gateway import GatewayServicer
    from serve.releases.rollouts.version_reconciler import VersionReconciler

LOGGER = logging.getLogger(__name__)

APPLICATION = "atelier"
QUEUED_METHODS = ("vectorize", "analyze", "draw", "infer")
"""Ensemble methods that need a slot; every stream does."""
NICENESS = 5
"""Of ensembles: a gateway gets three times their share of a busy CPU."""


class Replica:
    """Owns an ensemble with its Triton for the lifetime of this replica.

    Work queues here and not in Ray Serve, where it would also delay health calls.
    """

    _ensemble: Any
    _admission: AdmissionQueue
    _reconciler: VersionReconciler
    _calls: CallServer | None = None
    _drain_s = 0.0

    async def call(
        self,
        method: str,
        context: Mapping[str, str],
        *arguments: Any,
        urgency: Urgency = DEFAULT_URGENCY,
        **named: Any,
    ) -> Any:
        """The result of the ensemble's ``method``; our errors are returned as values, see `hop.remote_ensemble`.

        ``context`` carries the caller's trace (`serve.observability.tracing.carrier`).
        """
        try:
            with self._traced(method, context):
                if method == CALL_ADDRESS:
                    return None if self._calls is None else self._calls.address
                if method not in QUEUED_METHODS:
                    return await getattr(self._ensemble, method)(*arguments, **named)
                with request_context.use(request_context.from_urgency(urgency)):
                    async with self._admission.slot():
                        tracing.event("turn")
                        return await getattr(self._ensemble, method)(*arguments, **named)
        except AtelierError as error:
            return error
        except Exception:
            return self._internal_error()

    async def answer(self, *arguments: Any, **named: Any) -> AsyncIterator[Any]:
        """`call` as a stream of one item: only for streams does Ray report that a replica has accepted the call."""
        yield await self.call(*arguments, **named)

    async def stream(
        self, method: str, context: Mapping[str, str], *arguments: Any, urgency: Urgency = DEFAULT_URGENCY
    ) -> AsyncIterator[Any]:
        """The items of the ensemble's ``method``; one of our errors may be the last item."""
        try:
            request_context.set_current(request_context.from_urgency(urgency))
            with self._traced(method, context):
                async with (
                    self._admission.slot(),
                    contextlib.aclosing(getattr(self._ensemble, method)(*arguments)) as items,
                ):
                    tracing.event("turn")
                    async for item in items:
                        yield item
        except AtelierError as error:
            yield error
        except Exception:
            yield self._internal_error()

    def _internal_error(self) -> EngineFailure:
        """Replaces an unexpected exception, which `_traced` has logged: no trace or address leaves the process."""
        return EngineFailure(f"an internal error of the {self._name()}; the log has it")

    def _name(self) -> str:
        return type(self).__name__.removesuffix("Replica")

    @contextlib.contextmanager
    def _traced(self, method: str, context: Mapping[str, str]) -> Iterator[None]:
        """Continue the caller's trace, and log failures here, where the request id is known."""
        with tracing.continued_span(f"{self._name()}.{method}", context):
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
        """Called by Ray Serve for `serve.cluster.autoscaling`."""
        return {ONGOING_REQUESTS: float(self._admission.size)}

    async def _begin(self, settings: Settings, own: VectorizerSettings | IllustratorSettings) -> None:
        """Start the ensemble, then reconcile its engine versions with the site's."""
        from serve.releases.rollouts.version_reconciler import VersionReconciler

        await self._ensemble.start()
        self._reconciler = VersionReconciler(settings, self._ensemble.engine_set, own.model_repository)
        self._reconciler.start()
        self._drain_s = own.autoscaling.drain_s
        self._calls = CallServer(self.call, max_message_bytes(settings))
        await self._calls.start()
        freeze_gc()

    async def __del__(self) -> None:
        if self._calls is not None:
            await self._calls.close(self._drain_s)
        if hasattr(self, "_reconciler"):
            await self._reconciler.close()
        if hasattr(self, "_ensemble"):
            await self._ensemble.close()
        await asyncio.to_thread(export.stop)


class VectorizerReplica(Replica):
    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        prepare(settings, "Vectorizer", NICENESS)
        from serve.ensembles.vectorizer.vectorizer import Vectorizer
        from serve.releases.rollouts.version_reconciler import current_versions

        self._admission = admission_queue_of(settings.vectorizer, VECTORIZE)
        self._ensemble = Vectorizer(settings.vectorizer, engine_versions=await current_versions(settings))
        await self._begin(settings, settings.vectorizer)


def engines_beside(settings: Settings) -> tuple[str, ...]:
    """Engines that the Illustrator serves besides its families. Raises EngineUnavailable for a language model that is
    not in its repository."""
    from serve.security.moderation.policy import required_engines

    own, engine = settings.illustrator, settings.director.engine
    if engine is None:
        return required_engines(settings.moderation)
    if own.engines_url is None and not (own.model_repository / engine / "config.pbtxt").is_file():
        how = f"python -m build_engines director --source FILE.gguf --name {engine}"
        raise EngineUnavailable(
            f"there is no engine '{engine}' in {own.model_repository.name}/; {how}", "director.engine"
        )
    return (*required_engines(settings.moderation), engine)


class IllustratorReplica(Replica):
    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        prepare(settings, "Illustrator", NICENESS)
        from serve.ensembles.illustrator.illustrator import Illustrator
        from serve.releases.rollouts.version_reconciler import current_versions
        from serve.security.moderation.policy import moderated
        from serve.state.objects.objects import object_reader

        self._admission = admission_queue_of(settings.illustrator, ILLUSTRATE)
        others, wanted = engines_beside(settings), await current_versions(settings)
        fetch = object_reader(settings)
        illustrator = Illustrator(settings.illustrator, others=others, engine_versions=wanted, fetch=fetch)
        self._ensemble = moderated(illustrator, settings.moderation)
        await self._begin(settings, settings.illustrator)


class WorkerReplica:
    """Executes the jobs of the queue through the other replicas."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, vectorizer: DeploymentHandle[Any], illustrator: DeploymentHandle[Any] | None, settings: Settings
    ) -> None:
        prepare(settings, "Worker")
        from serve.api.http.urls import own_url
        from serve.cluster.hop.handles import remote_illustrator, remote_vectorizer
        from serve.jobs.worker.site import SiteWorker

        self._worker = await SiteWorker.start(
            settings,
            remote_vectorizer(vectorizer, settings),
            remote_illustrator(illustrator, settings) if illustrator else None,
            own_url(settings),
        )
        freeze_gc()

    async def check_health(self) -> None:
        """Ray Serve replaces a replica whose check raises."""
        self._worker.check()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Ray Serve for `serve.cluster.autoscaling`."""
        wanted = await self._worker.desired_workers()
        return {} if wanted is None else {WANTED_WORKERS: float(wanted)}

    async def __del__(self) -> None:
        if hasattr(self, "_worker"):
            await self._worker.close()
        await asyncio.to_thread(export.stop)


def admission_queue_of(own: VectorizerSettings | IllustratorSettings, ensemble: str) -> AdmissionQueue:
    return AdmissionQueue(own.max_ongoing_requests, own.max_queued_requests, ensemble)


class Gateway:
    """The HTTP application, and the methods of the gRPC service."""

    _servicer: GatewayServicer

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self,
        vectorizer: DeploymentHandle[Any],
        illustrator: DeploymentHandle[Any] | None,
        _worker: DeploymentHandle[Any],
        settings: Settings,
    ) -> None:
        """``_worker`` is not called: it only makes the worker part of the application."""
        prepare(settings, "Gateway")
        from serve.cluster.gateway import GatewayServicer

        self._servicer = await GatewayServicer.open(vectorizer, illustrator, settings)

    def __getattr__(self, name: str) -> Any:
        """The methods of the gRPC service."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._servicer, name)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Ray Serve calls this after the constructor."""
        return self._servicer.build_app()

    async def __del__(self) -> None:
        if "_servicer" in vars(self):
            await self._servicer.close()
        await asyncio.to_thread(export.stop)
