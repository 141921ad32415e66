"""Settings -> one Ray Serve application: a gateway behind both doors, the ensembles one hop behind it, the worker.

Only the modules that tests/test_house.py names import Ray. ``ray_environment.apply`` has to run before this one is
imported, in the process that starts Ray; the replicas inherit it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ray import serve as ray_serve
from ray.serve.config import BackpressureConfig, HTTPOptions, gRPCOptions
from ray.serve.schema import LoggingConfig
from starlette.middleware import Middleware

from serve.api.app import answer
from serve.api.inference.grpc import add_servicer_to_server
from serve.api.middleware import authentication
from serve.api.middleware.admission import Admission
from serve.api.middleware.authentication import Entry
from serve.api.middleware.client_address import ClientAddress
from serve.api.middleware.deadlines import RequestReceived
from serve.api.middleware.request_trace import RequestTrace
from serve.api.middleware.response_headers import RequestId, ScrubHeaders
from serve.cluster import routing
from serve.cluster.autoscaling import by_ongoing_requests, by_queue, replicas
from serve.cluster.ray_process import keep_to, own_host
from serve.cluster.replicas import Gateway, IllustratorReplica, Replica, VectorizerReplica, WorkerReplica
from serve.diffusion.family import families_in
from serve.errors import EngineUnavailable
from serve.observability.logs import escaping
from serve.security.limits.admission_queue import RETRY_AFTER_S
from serve.settings import IllustratorSettings, RaySettings, Settings, VectorizerSettings, load

ASIDE = 32
"""How many calls that only ask about an ensemble, or are refused, find room in a replica that is full."""


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
        request_router_config={"request_router_class": routing.PATH},
        logging_config=written,
        **_health(ray),
        **replicas(
            own.autoscaling,
            own.min_replicas + spare,
            own.max_replicas + spare,
            own.max_ongoing_requests / 2,
            by_ongoing_requests,
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
    escaping.install()
    keep_to(own_host(settings.ray.host))
    admission = Middleware(Admission, settings.limits, settings.gateway, answer)
    whose = Middleware(ClientAddress, settings)
    entry = Middleware(Entry, authentication.here)
    first = [Middleware(RequestId), Middleware(ScrubHeaders), whose, Middleware(RequestReceived)]
    return [admission, entry, Middleware(RequestTrace, settings.logs.requests), *first]  # the last one runs first
