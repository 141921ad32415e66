"""The gRPC service as Ray Serve opens it: its methods, each under the deadline of its call."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from serve.observability import request_context
from serve.observability.request_context import RequestContext

SERVICE = "inference.GRPCInferenceService"
MODEL_INFER = f"/{SERVICE}/ModelInfer"


def add_servicer_to_server(servicer: Any, server: Any) -> None:
    """As the generated function of this name, but requests stay bytes. Ray Serve imports it by its path."""
    handlers = {}
    for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
        implementation = getattr(servicer, method.name)
        handler = (
            grpc.stream_stream_rpc_method_handler if method.client_streaming else grpc.unary_unary_rpc_method_handler
        )
        handlers[method.name] = handler(implementation, response_serializer=lambda message: message.SerializeToString())
    server.add_generic_rpc_handlers((GrpcDeadline(SERVICE, handlers),))


class GrpcDeadline(grpc.ServiceRpcHandler):  # type: ignore[misc]
    """The methods of one service, each under the deadline of the header ``grpc-timeout``.

    Ray Serve's context does not have that deadline, so it is read before Ray Serve's handler runs. Ray Serve looks for
    ``_method_handlers`` and replaces it with its own.
    """

    def __init__(self, service: str, methods: Mapping[str, Any]) -> None:
        self._service = service
        self._method_handlers = {f"/{service}/{name}": handler for name, handler in methods.items()}

    def service_name(self) -> str:
        return self._service

    def service(self, handler_call_details: Any) -> Any:
        handler = self._method_handlers.get(handler_call_details.method)
        if handler is None:
            return None
        if _direct_handlers and (direct := _direct_handlers.get(handler_call_details.method)) is not None:
            return direct
        if handler.request_streaming:
            return handler._replace(stream_stream=_stream(handler.stream_stream))
        return handler._replace(unary_unary=_unary(handler.unary_unary))


_direct_handlers: dict[str, Any] = {}


def set_direct_handler(method: str, answer: Callable[[bytes, Any], Awaitable[bytes]] | None) -> None:
    """``answer`` serves ``method`` (/service/name) in this process, without the layers of Ray Serve; None: no more."""
    if answer is None:
        _direct_handlers.pop(method, None)
    else:
        _direct_handlers[method] = grpc.unary_unary_rpc_method_handler(_unary(answer))


def _unary(answer: Any) -> Any:
    async def timed(request: bytes, context: Any) -> Any:
        _begin(context)
        return await answer(request, context)

    return timed


def _stream(answers: Any) -> Any:
    async def timed(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        _begin(context)
        async with contextlib.aclosing(answers(requests, context)) as messages:
            async for message in messages:
                yield message

    return timed


def _begin(context: Any) -> None:
    request_context.set_current(RequestContext().with_timeout(context.time_remaining()))
