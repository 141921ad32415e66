"""Composes the Ray Serve application from Settings: a gateway (HTTP and gRPC), the ensembles behind it, a worker.

Call ``ray_environment.apply`` before importing this module, in the process that starts Ray; replicas inherit the
environment.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray import serve as ray_serve
from ray.serve.config import BackpressureConfig, HTTPOptions, gRPCOptions
from ray.serve.schema import LoggingConfig

from serve.api.inference.grpc_service import add_servicer_to_server
from serve.cluster import routing
from serve.cluster.autoscaling import by_ongoing_requests, by_queue, replicas
from serve.cluster.replicas import Gateway, IllustratorReplica, Replica, VectorizerReplica, WorkerReplica
from serve.diffusion.family import families_in
from serve.errors import EngineUnavailable
from serve.security.limits.admission_queue import RETRY_AFTER_S
from serve.settings import IllustratorSettings, Settings, VectorizerSettings, load

PROBE_HEADROOM = 32
"""Extra concurrent calls per ensemble replica, for health checks and refusals while it is full."""


def build(arguments: dict[str, Any]) -> ray_serve.Application:
    """Application builder of a Ray Serve config file. ``arguments`` are settings and override the environment."""
    return compose(load(**arguments))


def new_version() -> str:
    """A random application version: replicas of another version are replaced."""
    return secrets.token_hex(4)


@dataclass(frozen=True)
class Spare:
    """Extra replicas during a redeployment, while new ones replace the running ones."""

    gateways: int = 0
    """Of gateways and of workers."""
    ensembles: int = 0


NO_SPARE = Spare()


def spare_for(settings: Settings, free: Mapping[str, float]) -> Spare:
    """The extra replicas that fit in ``free`` resources. Raises EngineUnavailable if not even a gateway and a worker
    fit.

    Without a spare ensemble replica, requests wait during the replacement; without a spare gateway they would be lost.
    """
    doors = settings.gateway.num_cpus + settings.jobs.num_cpus
    if free.get("CPU", 0.0) < doors:
        raise EngineUnavailable(f"there is no room for a spare gateway and worker ({doors:g} CPUs)", "ray.num_cpus")
    cpus = doors + settings.vectorizer.num_cpus + settings.illustrator.num_cpus
    gpus = settings.vectorizer.num_gpus + settings.illustrator.num_gpus
    has_room = free.get("CPU", 0.0) >= cpus and free.get("GPU", 0.0) >= gpus
    return Spare(gateways=1, ensembles=int(has_room))


def compose(settings: Settings, version: str | None = None, spare: Spare = NO_SPARE) -> ray_serve.Application:
    """The application. Without ``version`` a random one is used."""
    deploy = _Deployments(settings, version, spare)
    vectorizer = deploy.ensemble("Vectorizer", VectorizerReplica, settings.vectorizer).bind(settings)
    illustrator = None
    if settings.illustrator.families or families_in(settings.illustrator.model_repository):
        illustrator = deploy.ensemble("Illustrator", IllustratorReplica, settings.illustrator).bind(settings)
    worker = deploy.worker().bind(vectorizer, illustrator, settings)
    application: ray_serve.Application = deploy.gateway().bind(vectorizer, illustrator, worker, settings)
    return application


@dataclass(frozen=True)
class _Deployments:
    """The application's deployments, each with its number of replicas, resources and limits."""

    settings: Settings
    version: str | None
    spare: Spare

    def gateway(self) -> ray_serve.Deployment:
        own = self.settings.gateway
        scaling = replicas(
            own.autoscaling,
            own.min_replicas + self.spare.gateways,
            own.max_replicas + self.spare.gateways,
            own.max_ongoing_requests / 2,
        )
        return self._deployment(
            "Gateway",
            ray_serve.ingress()(Gateway),
            # Admission limits HTTP, gRPC and open streams separately: with room for all three, and as much again for
            # calls without a slot (health), nothing waits in Ray Serve, where there are no deadlines.
            max_ongoing_requests=4 * own.max_ongoing_requests,
            max_queued_requests=own.max_ongoing_requests,
            backpressure_config=BackpressureConfig(retry_after_s=RETRY_AFTER_S[0]),
            ray_actor_options={"num_cpus": own.num_cpus},
            graceful_shutdown_timeout_s=own.autoscaling.drain_s,
            **scaling,
        )

    def ensemble(
        self, name: str, replica: type[Replica], own: VectorizerSettings | IllustratorSettings
    ) -> ray_serve.Deployment:
        resources = {"num_cpus": own.num_cpus}
        if own.num_gpus:
            resources["num_gpus"] = own.num_gpus
        scaling = replicas(
            own.autoscaling,
            own.min_replicas + self.spare.ensembles,
            own.max_replicas + self.spare.ensembles,
            own.max_ongoing_requests / 2,
            by_ongoing_requests,
        )
        return self._deployment(
            name,
            replica,
            max_ongoing_requests=own.max_ongoing_requests + own.max_queued_requests + PROBE_HEADROOM,
            max_queued_requests=own.max_queued_requests,
            ray_actor_options=resources,
            graceful_shutdown_timeout_s=own.autoscaling.drain_s,
            max_constructor_retry_count=2,
            request_router_config={"request_router_class": routing.PATH},
            **scaling,
        )

    def worker(self) -> ray_serve.Deployment:
        own = self.settings.jobs
        fewest, most = own.workers + self.spare.gateways, (own.max_workers or own.workers) + self.spare.gateways
        return self._deployment(
            "Worker",
            WorkerReplica,
            ray_actor_options={"num_cpus": own.num_cpus},
            graceful_shutdown_timeout_s=own.autoscaling.drain_s,
            **replicas(own.autoscaling, fewest, most, 1, by_queue),
        )

    def _deployment(self, name: str, replica: Any, **options: Any) -> ray_serve.Deployment:
        """With what all have in common. Ray Serve replaces a replica after three failed health checks; its default of
        30 s is 90 s in all."""
        ray = self.settings.ray
        encoding = self.settings.logs.format.upper()
        deployment: ray_serve.Deployment = ray_serve.deployment(
            name=name,
            health_check_period_s=ray.health_period_s,
            health_check_timeout_s=ray.health_timeout_s,
            # Our own access log replaces Ray Serve's.
            logging_config=LoggingConfig(log_level="WARNING", encoding=encoding, enable_access_log=False),
            **options,
        )(replica)
        # Ray Serve 2.60 otherwise draws a random version per ``run`` and replaces all replicas even when only their
        # number changes. There is no public parameter for it.
        deployment._version = self.version
        return deployment


def http_options(settings: Settings) -> HTTPOptions:
    return HTTPOptions(host=settings.ray.host, port=settings.http.port)


def grpc_options(settings: Settings) -> gRPCOptions:
    servicer = f"{add_servicer_to_server.__module__}.{add_servicer_to_server.__name__}"
    return gRPCOptions(port=settings.grpc.port, grpc_servicer_functions=[servicer])
