"""Settings -> one Ray Serve application: a gateway behind both doors, and the Vectorizer one hop behind it.

With ``cli.py`` the only module that imports Ray. ``ray_environment.apply`` has to run before this is imported, in the
process that starts Ray; the replicas inherit it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from fastapi import FastAPI
from ray import serve as ray_serve
from ray.exceptions import RayActorError, RayTaskError, TaskCancelledError
from ray.serve.config import AutoscalingConfig, BackpressureConfig, HTTPOptions, gRPCOptions
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator
from ray.serve.schema import LoggingConfig
from starlette.middleware import Middleware

from serve.api.admission import Admission
from serve.api.app import answer, create_app
from serve.api.middleware import RequestId, ScrubHeaders
from serve.api.open_inference.grpc import OpenInferenceServicer, add_servicer_to_server
from serve.api.open_inference.models import Models
from serve.api.open_inference.tensors import Array
from serve.engines.service import Health
from serve.ensembles.vectorization import Analysis, Vectorization, VectorizeOptions
from serve.errors import AtelierError, Cancelled, DeadlineExceeded, EngineFailure, EngineUnavailable, Overloaded
from serve.settings import Settings, load

APPLICATION = "atelier"
ATTEMPTS = 2
"""A call whose replica died is made once more: every call of ours gives the same answer when repeated."""

HEALTH_TIMEOUT_S = 10.0
"""Who asks for health does not wait as long as for a conversion: a full queue before it is an answer too."""


class VectorizerReplica:
    """Owns a Vectorizer, with its Triton, for as long as Ray keeps this replica."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        keep_to(settings.http.host)
        from serve.ensembles.vectorizer import Vectorizer  # here: the gateway has no use for tracers

        self._vectorizer = Vectorizer(settings.vectorizer)
        await self._vectorizer.start()

    async def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """What ``Vectorizer.method`` returns or raises: an error of ours comes back as a value, since Ray Serve logs
        every exception that leaves a replica as a failure of the replica's."""
        try:
            return await getattr(self._vectorizer, method)(*arguments, **named)
        except AtelierError as error:
            return error

    async def __del__(self) -> None:
        if hasattr(self, "_vectorizer"):
            await self._vectorizer.close()


class RemoteVectorizer:
    """The ``VectorizerService`` across the hop. The one place where Ray's errors become ours."""

    def __init__(self, handle: DeploymentHandle[Any], timeout_s: float) -> None:
        self._handle = handle
        self._timeout_s = timeout_s

    async def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Within one deadline, however often it asks."""
        timeout_s = min(self._timeout_s, HEALTH_TIMEOUT_S) if method == "health" else self._timeout_s
        deadline = asyncio.get_running_loop().time() + timeout_s
        for attempt in range(1, ATTEMPTS + 1):
            response = self._handle.call.remote(method, *arguments, **named)
            try:
                async with asyncio.timeout_at(deadline):
                    result = await response
            except TimeoutError:
                _cancel(response)
                raise DeadlineExceeded(f"no answer within {timeout_s:g} s") from None
            except asyncio.CancelledError:
                _cancel(response)
                raise
            except BackPressureError:
                raise Overloaded("too many requests are waiting; try again later") from None
            except TaskCancelledError:
                raise Cancelled("the request was cancelled") from None
            except (RayActorError, ReplicaUnavailableError, DeploymentUnavailableError):
                if attempt == ATTEMPTS:
                    raise EngineUnavailable("the Vectorizer is restarting; try again") from None
            except RayTaskError as error:
                # Ray's text is a trace with addresses: it stays in the log.
                raise EngineFailure("an internal error of the Vectorizer; the log has it") from error
            else:
                if isinstance(result, AtelierError):
                    raise result
                return result
        raise AssertionError("unreachable")

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        result: Vectorization = await self._call("vectorize", data, options)
        return result

    async def analyze(self, data: bytes) -> Analysis:
        result: Analysis = await self._call("analyze", data)
        return result

    async def health(self) -> Health:
        result: Health = await self._call("health")
        return result

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, Array],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        result: dict[str, Array] = await self._call("infer", engine, inputs, outputs=outputs, timeout_s=timeout_s)
        return result

    async def metadata(self, engine: str) -> dict[str, Any]:
        result: dict[str, Any] = await self._call("metadata", engine)
        return result

    async def config(self, engine: str) -> dict[str, Any]:
        result: dict[str, Any] = await self._call("config", engine)
        return result

    async def statistics(self, engine: str) -> dict[str, Any]:
        result: dict[str, Any] = await self._call("statistics", engine)
        return result

    async def engines(self) -> list[str]:
        result: list[str] = await self._call("engines")
        return result


def _cancel(response: DeploymentResponse[Any] | DeploymentResponseGenerator[Any]) -> None:
    response.cancel()  # type: ignore[no-untyped-call]


class Gateway(OpenInferenceServicer):
    """Both doors: the HTTP application, and the servicer's methods for gRPC."""

    def __init__(self, vectorizer: DeploymentHandle[Any], settings: Settings) -> None:
        keep_to(settings.http.host)
        self._service = RemoteVectorizer(vectorizer, settings.vectorizer.timeout_s)
        self._settings = settings
        models = Models(self._service, settings)
        super().__init__(models, settings)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Ray Serve asks for the application once the constructor has run."""
        return create_app(self._service, self._settings, self._models)


def build(arguments: dict[str, Any]) -> ray_serve.Application:
    """The application builder of a Ray Serve config: ``args`` are settings, and win over the environment."""
    return compose(load(**arguments))


def compose(settings: Settings) -> ray_serve.Application:
    logging = LoggingConfig(log_level="WARNING", enable_access_log=settings.ray.access_log)
    own, gate = settings.vectorizer, settings.gateway
    vectorizer = ray_serve.deployment(
        name="Vectorizer",
        max_ongoing_requests=own.max_ongoing_requests,
        max_queued_requests=own.max_queued_requests,
        ray_actor_options={"num_cpus": own.num_cpus},
        graceful_shutdown_timeout_s=10,
        max_constructor_retry_count=2,
        logging_config=logging,
        **_scale(own.min_replicas, own.max_replicas, own.max_ongoing_requests),
    )(VectorizerReplica)
    gateway = ray_serve.deployment(
        name="Gateway",
        # HTTP, gRPC and open streams are each bounded by ``Places``: with room for all of them, and as much again for
        # what takes no place (health), nothing waits for Ray Serve without a deadline.
        max_ongoing_requests=4 * gate.max_ongoing_requests,
        max_queued_requests=gate.max_ongoing_requests,
        backpressure_config=BackpressureConfig(retry_after_s=Overloaded.retry_after_s),
        ray_actor_options={"num_cpus": gate.num_cpus},
        graceful_shutdown_timeout_s=10,
        logging_config=logging,
        **_scale(gate.min_replicas, gate.max_replicas, gate.max_ongoing_requests),
    )(ray_serve.ingress()(Gateway))
    application: ray_serve.Application = gateway.bind(vectorizer.bind(settings), settings)
    return application


def _scale(fewest: int, most: int, ongoing: int) -> dict[str, Any]:
    if fewest == most:
        return {"num_replicas": fewest}
    scaling = AutoscalingConfig(min_replicas=fewest, max_replicas=most, target_ongoing_requests=max(1, ongoing // 2))
    return {"autoscaling_config": scaling}


def http_options(settings: Settings) -> HTTPOptions:
    return HTTPOptions(host=settings.http.host, port=settings.http.port)


def grpc_options(settings: Settings) -> gRPCOptions:
    servicer = f"{add_servicer_to_server.__module__}.{add_servicer_to_server.__name__}"
    return gRPCOptions(port=settings.grpc.port, grpc_servicer_functions=[servicer])


def before_ray_serve() -> list[Middleware]:
    """Ray Serve calls this in every process that opens an HTTP server; what it returns runs before Ray Serve does."""
    settings = load()
    keep_to(settings.http.host)
    admission = Middleware(Admission, settings.limits, settings.gateway, answer)
    return [admission, Middleware(RequestId), Middleware(ScrubHeaders)]  # the last one runs first


def keep_to(host: str) -> None:
    """Bind the gRPC servers that Ray Serve opens in this process to ``host``.

    Ray Serve 2.60 binds them to every interface, whatever its options say, and they take pickled requests from
    anyone who can reach them.
    """
    from ray.serve._private import default_impl, replica

    if default_impl.add_grpc_address.__module__ == __name__:
        return  # done already
    add_port = vars(replica)["add_port_to_grpc_server"]

    def add_grpc_address(server: grpc.aio.Server, address: str) -> None:
        server.add_insecure_port(address.replace("[::]", host))

    def add_port_to_grpc_server(server: grpc.aio.Server, address: str) -> Any:
        return add_port(server, address.replace("[::]", host))

    vars(default_impl).update(add_grpc_address=add_grpc_address)
    vars(replica).update(add_port_to_grpc_server=add_port_to_grpc_server)
