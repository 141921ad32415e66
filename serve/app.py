"""Settings -> one Ray Serve application: a gateway behind both doors, the ensembles one hop behind it, the worker.

With ``remote.py``, ``ray_process.py`` and ``cli.py`` the only modules that import Ray. ``ray_environment.apply`` has to
run before this is imported, in the process that starts Ray; the replicas inherit it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI
from ray import serve as ray_serve
from ray.serve.config import BackpressureConfig, HTTPOptions, gRPCOptions
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig
from starlette.middleware import Middleware

from serve import tracing, urgency
from serve.api import entrance
from serve.api.admission import Admission
from serve.api.app import answer, create_app
from serve.api.client_address import ClientAddress
from serve.api.deadlines import Arrived
from serve.api.entrance import Entrance, Entry
from serve.api.middleware import RequestId, ScrubHeaders
from serve.api.observed import Observed
from serve.api.open_inference.grpc import OpenInferenceServicer, add_servicer_to_server
from serve.api.open_inference.models import Models
from serve.diffusion.family import families_in
from serve.ensembles.illustration import ILLUSTRATE
from serve.ensembles.vectorization import VECTORIZE
from serve.errors import AtelierError, EngineFailure, EngineUnavailable
from serve.fallback.site import with_fallback
from serve.fallback.watched import WatchedVectorizer
from serve.guards import log_lines
from serve.jobs.direct import Direct
from serve.moderation.moderated import engines_of, moderated
from serve.ray_process import keep_to, own_host, prepare, settled
from serve.remote import RemoteIllustrator, RemoteVectorizer, sleep_of
from serve.rollouts.steward import Steward, wanted_now
from serve.scaling import TURNS, WORKERS, by_queue, by_turns, replicas
from serve.settings import IllustratorSettings, RaySettings, Settings, VectorizerSettings, load
from serve.sleep import Sleep
from serve.state import State
from serve.tracing import export
from serve.turns import RETRY_AFTER_S, Turns
from serve.urgency import UNPRESSED, Pressing

LOGGER = logging.getLogger(__name__)

APPLICATION = "atelier"
WORK = ("vectorize", "analyze", "draw", "infer")
"""The methods of ensembles that take a turn; every stream does."""
NICENESS = 5
"""Of ensembles: a gateway that asks for the processor gets three times as much of it."""
ASIDE = 32
"""How many calls that only ask about an ensemble, or are refused, find room in a replica that is full."""


class Replica:
    """Owns an ensemble, with its Triton, for as long as Ray keeps this replica.

    Work takes turns here and not in Ray Serve's queue, where it would keep those waiting who only ask how it is.
    """

    _ensemble: Any
    _turns: Turns
    _steward: Steward

    async def call(
        self,
        method: str,
        context: Mapping[str, str],
        *arguments: Any,
        pressing: Pressing = UNPRESSED,
        **named: Any,
    ) -> Any:
        """What the ensemble's ``method`` returns or raises: errors of ours as values, see `serve.remote`.

        ``context`` is what the caller carried along (`serve.tracing.carried`).
        """
        try:
            with self._entered(method, context):
                if method not in WORK:
                    return await getattr(self._ensemble, method)(*arguments, **named)
                with urgency.under(urgency.arrived(pressing)):
                    async with self._turns.taken():
                        tracing.event("turn")
                        return await getattr(self._ensemble, method)(*arguments, **named)
        except AtelierError as error:
            return error

    async def stream(
        self, method: str, context: Mapping[str, str], *arguments: Any, pressing: Pressing = UNPRESSED
    ) -> AsyncIterator[Any]:
        """What the ensemble's ``method`` yields; an error of ours is the last item."""
        try:
            urgency.begin(urgency.arrived(pressing))
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

    @contextlib.contextmanager
    def _entered(self, method: str, context: Mapping[str, str]) -> Iterator[None]:
        """What nobody foresaw is written down here, where it is known which request it was."""
        name = type(self).__name__.removesuffix("Replica")
        with tracing.continued(f"{name}.{method}", context):
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
        """Ray Serve asks for it; `serve.scaling` decides by it."""
        return {TURNS: float(self._turns.here)}

    async def _begin(self, settings: Settings, own: VectorizerSettings | IllustratorSettings) -> None:
        """Once the ensemble is made. From then on its engines have the versions that the site wants."""
        await self._ensemble.start()
        self._steward = Steward(settings, self._ensemble.room, own.model_repository)
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
        from serve.ensembles.vectorizer import Vectorizer  # here: the gateway has no use for tracers

        self._turns = turns_of(settings.vectorizer, VECTORIZE)
        self._ensemble = Vectorizer(settings.vectorizer, engine_versions=await wanted_now(settings))
        await self._begin(settings, settings.vectorizer)


class IllustratorReplica(Replica):
    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        prepare(settings, "Illustrator", NICENESS)
        from serve.ensembles.illustrator import Illustrator  # here: nor for a Triton and tokenizers

        self._turns = turns_of(settings.illustrator, ILLUSTRATE)
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
        from serve.api.addresses import own_url
        from serve.jobs.site import SiteWorker

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
        """Ray Serve asks for it; `serve.scaling` decides by it."""
        wanted = await self._worker.wanted()
        return {} if wanted is None else {WORKERS: float(wanted)}

    async def __del__(self) -> None:
        if hasattr(self, "_worker"):
            await self._worker.close()
        await asyncio.to_thread(export.stop)


def remote_vectorizer(handle: DeploymentHandle[Any], settings: Settings) -> RemoteVectorizer:
    own = settings.vectorizer
    return RemoteVectorizer(handle, own.timeout_s, _sleep("Vectorizer", own))


def remote_illustrator(handle: DeploymentHandle[Any], settings: Settings) -> RemoteIllustrator:
    own = settings.illustrator
    return RemoteIllustrator(handle, own.timeout_s, _sleep("Illustrator", own))


def _sleep(name: str, own: VectorizerSettings | IllustratorSettings) -> Sleep | None:
    return sleep_of(APPLICATION, name) if own.min_replicas == 0 else None


def turns_of(own: VectorizerSettings | IllustratorSettings, ensemble: str) -> Turns:
    return Turns(own.max_ongoing_requests, own.max_queued_requests, ensemble)


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
        self._direct = Direct(self._state, draws, service, settings)
        await self._direct.start()
        self._entrance = await Entrance.opened(self._state)
        entrance.open_here(self._entrance)
        state, direct = self._state, self._direct
        self._app = partial(
            create_app, service, settings, illustrator=draws, state=state, direct=direct, entrance=self._entrance
        )
        super().__init__(Models(service, settings, draws), settings, self._entrance)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Ray Serve asks for the application once the constructor has run."""
        app = self._app(models=self._models)
        settled()
        return app

    async def __del__(self) -> None:
        if hasattr(self, "_entrance"):
            entrance.open_here(None)
            await self._entrance.close()
        if hasattr(self, "_direct"):
            await self._direct.close()
            await self._state.close()
        await asyncio.to_thread(export.stop)


def build(arguments: dict[str, Any]) -> ray_serve.Application:
    """The application builder of a Ray Serve config: ``args`` are settings, and win over the environment."""
    return compose(load(**arguments))


def new_version() -> str:
    """Of the application: replicas of another version are replaced."""
    return secrets.token_hex(4)


@dataclass(frozen=True)
class Spare:
    """How many replicas there are more than the settings say, while others take the place of those that run."""

    doors: int = 0
    """Of the gateways and of the workers."""
    ensembles: int = 0


NO_SPARE = Spare()


def spare_for(settings: Settings, free: Mapping[str, float]) -> Spare:
    """What ``free`` resources of a cluster have room for. Raises EngineUnavailable when that is nothing.

    While an ensemble is replaced without a spare one, its requests wait; a gateway that is gone would lose them.
    """
    doors = settings.gateway.num_cpus + settings.jobs.num_cpus
    if free.get("CPU", 0.0) < doors:
        raise EngineUnavailable(f"there is no room for a spare gateway and worker ({doors:g} CPUs)", "ray.num_cpus")
    cpus = doors + settings.vectorizer.num_cpus + settings.illustrator.num_cpus
    gpus = settings.vectorizer.num_gpus + settings.illustrator.num_gpus
    has_room = free.get("CPU", 0.0) >= cpus and free.get("GPU", 0.0) >= gpus
    return Spare(doors=1, ensembles=int(has_room))


def compose(settings: Settings, version: str | None = None, spare: Spare = NO_SPARE) -> ray_serve.Application:
    """Without a ``version`` each call makes another one."""
    encoding = settings.logs.format.upper()
    written = LoggingConfig(log_level="WARNING", encoding=encoding, enable_access_log=False)  # ours says more
    gate = settings.gateway
    gateway = ray_serve.deployment(
        name="Gateway",
        # HTTP, gRPC and open streams are each bounded by ``Places``: with room for all of them, and as much again for
        # what takes no place (health), nothing waits for Ray Serve without a deadline.
        max_ongoing_requests=4 * gate.max_ongoing_requests,
        max_queued_requests=gate.max_ongoing_requests,
        backpressure_config=BackpressureConfig(retry_after_s=RETRY_AFTER_S[0]),
        ray_actor_options={"num_cpus": gate.num_cpus},
        graceful_shutdown_timeout_s=gate.autoscaling.drain_s,
        logging_config=written,
        **_health(settings.ray),
        **replicas(
            gate.autoscaling,
            gate.min_replicas + spare.doors,
            gate.max_replicas + spare.doors,
            gate.max_ongoing_requests / 2,
        ),
    )(ray_serve.ingress()(Gateway))
    gateway = _versioned(gateway, version)
    ensemble = partial(_ensemble, ray=settings.ray, written=written, version=version, spare=spare.ensembles)
    vectorizer = ensemble("Vectorizer", VectorizerReplica, settings.vectorizer).bind(settings)
    illustrator = None
    if settings.illustrator.families or families_in(settings.illustrator.model_repository):
        illustrator = ensemble("Illustrator", IllustratorReplica, settings.illustrator).bind(settings)
    jobs = settings.jobs
    worker = ray_serve.deployment(
        name="Worker",
        ray_actor_options={"num_cpus": jobs.num_cpus},
        graceful_shutdown_timeout_s=jobs.autoscaling.drain_s,
        logging_config=written,
        **_health(settings.ray),
        **replicas(
            jobs.autoscaling,
            jobs.workers + spare.doors,
            (jobs.max_workers or jobs.workers) + spare.doors,
            1,
            by_queue,
        ),
    )(WorkerReplica)
    worker = _versioned(worker, version)
    working = worker.bind(vectorizer, illustrator, settings)
    application: ray_serve.Application = gateway.bind(vectorizer, illustrator, working, settings)
    return application


def _ensemble(
    name: str,
    replica: type[Replica],
    own: VectorizerSettings | IllustratorSettings,
    ray: RaySettings,
    written: LoggingConfig,
    version: str | None,
    spare: int,
) -> ray_serve.Deployment:
    resources = {"num_cpus": own.num_cpus}
    if own.num_gpus:
        resources["num_gpus"] = own.num_gpus
    deployment: ray_serve.Deployment = ray_serve.deployment(
        name=name,
        max_ongoing_requests=own.max_ongoing_requests + own.max_queued_requests + ASIDE,
        max_queued_requests=own.max_queued_requests,
        ray_actor_options=resources,
        graceful_shutdown_timeout_s=own.autoscaling.drain_s,
        max_constructor_retry_count=2,
        logging_config=written,
        **_health(ray),
        **replicas(
            own.autoscaling,
            own.min_replicas + spare,
            own.max_replicas + spare,
            own.max_ongoing_requests / 2,
            by_turns,
        ),
    )(replica)
    return _versioned(deployment, version)


def _versioned(deployment: ray_serve.Deployment, version: str | None) -> ray_serve.Deployment:
    """Ray Serve 2.60 gives each deployment of ``run`` a version by chance, and so replaces replicas that have only to
    be more or fewer; a version of our own can be told only here."""
    deployment._version = version
    return deployment


def _health(ray: RaySettings) -> dict[str, Any]:
    """Ray Serve replaces a replica that stands still after three checks without an answer: its own 30 s make a minute
    and a half."""
    return {"health_check_period_s": ray.health_period_s, "health_check_timeout_s": ray.health_timeout_s}


def http_options(settings: Settings) -> HTTPOptions:
    return HTTPOptions(host=settings.ray.host, port=settings.http.port)


def grpc_options(settings: Settings) -> gRPCOptions:
    servicer = f"{add_servicer_to_server.__module__}.{add_servicer_to_server.__name__}"
    return gRPCOptions(port=settings.grpc.port, grpc_servicer_functions=[servicer])


def before_ray_serve() -> list[Middleware]:
    """Ray Serve calls this in every process that opens an HTTP server; what it returns runs before Ray Serve does."""
    settings = load()
    log_lines.install()
    keep_to(own_host(settings.ray.host))
    admission = Middleware(Admission, settings.limits, settings.gateway, answer)
    whose = Middleware(ClientAddress, settings)
    entry = Middleware(Entry, entrance.here)
    first = [Middleware(RequestId), Middleware(ScrubHeaders), whose, Middleware(Arrived)]
    return [admission, entry, Middleware(Observed, settings.logs.requests), *first]  # the last one runs first
