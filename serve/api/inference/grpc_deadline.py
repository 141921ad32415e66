"""gRPC's own deadline, of the header ``grpc-timeout``: Ray Serve's context does not tell it, so it is read before."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc

from serve.observability import request_context
from serve.observability.request_context import RequestContext


class GrpcDeadline(grpc.ServiceRpcHandler):  # type: ignore[misc]
    """The methods of one service; a call begins under its deadline.

    Ray Serve looks for ``_method_handlers``, and puts its own in their place.
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
        if handler.request_streaming:
            return handler._replace(stream_stream=_stream(handler.stream_stream))
        return handler._replace(unary_unary=_unary(handler.unary_unary))


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
