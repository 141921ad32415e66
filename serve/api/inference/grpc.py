"""The open inference protocol over gRPC: ``inference.GRPCInferenceService`` as KServe and Triton define it.

The servicer takes raw bytes and parses them itself. A message that cannot be parsed is then the client's error
(INVALID_ARGUMENT) and not the server's, and no protobuf message is pickled on its way through Ray Serve.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as pb

from serve.api.http.bodies import ENVELOPE_BYTES
from serve.api.inference.grpc_calls import Context, GrpcAuthentication, headers_of, observed
from serve.api.inference.grpc_errors import as_known, failure_message, set_error
from serve.api.inference.grpc_messages import (
    filled,
    parse,
    response_of,
    stream_response,
    to_request,
)
from serve.api.inference.grpc_service import SERVICE
from serve.api.inference.grpc_stream import Job, interleaved
from serve.api.inference.models import Models
from serve.api.middleware.admission import AdmissionSlots
from serve.api.middleware.authentication import Authentication
from serve.api.middleware.deadlines import MAX_TIMEOUT_S, context_with_parameters, read_context
from serve.api.middleware.request_metrics import note_deadline
from serve.errors import AtelierError, DeadlineExceeded, TooLarge, Unsupported
from serve.observability import request_context
from serve.observability.request_context import RequestContext
from serve.security.identity.roles import LOCAL, Principal
from serve.security.limits.limiter import Client
from serve.settings import Settings

log = logging.getLogger(__name__)


class OpenInferenceServicer:
    """One coroutine per method. An error sets the status code and returns an empty message: gRPC logs no trace then."""

    def __init__(
        self,
        models: Models,
        settings: Settings,
        entrance: Authentication | None = None,
        ongoing: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Without an ``entrance`` there are neither API keys nor rate limits. ``ongoing`` counts calls of
        `infer_directly` in work by +1 and -1."""
        self._ongoing = ongoing
        self._models = models
        self._callers = GrpcAuthentication(entrance, settings, models.is_streaming) if entrance is not None else None
        self._max_body_bytes = settings.limits.max_body_bytes + ENVELOPE_BYTES
        self._max_tensors = settings.limits.max_tensors
        self._records = settings.logs.requests
        gateway = settings.gateway
        self._inferences = AdmissionSlots(gateway.max_ongoing_requests, gateway.kept_share)
        self._streams = AdmissionSlots(gateway.max_ongoing_requests, gateway.kept_share)
        self._gateway = gateway

    async def _unary(
        self, raw: bytes, kind: type[Message], empty: Message, context: Context, do: Callable[[Any], Awaitable[Message]]
    ) -> Message:
        method = kind.DESCRIPTOR.name.removesuffix("Request")
        with self._observed(method, context):
            try:
                await self._enter(method, context)
                return await do(self._parse(raw, kind))
            except Exception as error:  # the last handler: unexpected errors are logged and get a fixed text
                set_error(context, as_known(error))
                return empty

    def _observed(self, method: str, context: Context) -> contextlib.AbstractContextManager[None]:
        return observed(SERVICE, method, context, self._records)

    async def _enter(self, method: str, context: Context) -> tuple[Principal, Client | None]:
        return (LOCAL, None) if self._callers is None else await self._callers.enter(method, context)

    def _begin(self, principal: Principal, context: Context) -> None:
        """Sets the `RequestContext` from the call's metadata and gRPC's own deadline; the earlier deadline counts.

        Raises InvalidRequest, Forbidden.
        """
        requested = read_context(headers_of(context), time.monotonic(), principal, self._gateway)
        request_context.set_current(requested.with_earlier_deadline(request_context.current()))
        note_deadline(request_context.current().deadline)

    async def _count(self, client: Client | None, model: str) -> None:
        if self._callers is not None:
            await self._callers.count(client, model)

    def _parse(self, raw: bytes, kind: type[Message]) -> Any:
        if len(raw) > self._max_body_bytes:
            raise TooLarge(f"the message has more than {self._max_body_bytes} bytes")
        return parse(raw, kind)

    async def ServerLive(self, request: bytes, grpc_context: Context) -> Message:
        async def do(_: Any) -> Message:
            return pb.ServerLiveResponse(live=True)

        return await self._unary(request, pb.ServerLiveRequest, pb.ServerLiveResponse(), grpc_context, do)

    async def ServerReady(self, request: bytes, grpc_context: Context) -> Message:
        async def do(_: Any) -> Message:
            return pb.ServerReadyResponse(ready=await self._models.server_ready())

        return await self._unary(request, pb.ServerReadyRequest, pb.ServerReadyResponse(), grpc_context, do)

    async def ModelReady(self, request: bytes, grpc_context: Context) -> Message:
        async def do(message: Any) -> Message:
            return pb.ModelReadyResponse(ready=await self._models.model_ready(message.name, message.version))

        return await self._unary(request, pb.ModelReadyRequest, pb.ModelReadyResponse(), grpc_context, do)

    async def ServerMetadata(self, request: bytes, grpc_context: Context) -> Message:
        async def do(_: Any) -> Message:
            return pb.ServerMetadataResponse(**self._models.server_metadata())

        return await self._unary(request, pb.ServerMetadataRequest, pb.ServerMetadataResponse(), grpc_context, do)

    async def ModelMetadata(self, request: bytes, grpc_context: Context) -> Message:
        async def do(message: Any) -> Message:
            return filled(pb.ModelMetadataResponse(), await self._models.metadata(message.name, message.version))

        return await self._unary(request, pb.ModelMetadataRequest, pb.ModelMetadataResponse(), grpc_context, do)

    async def ModelConfig(self, request: bytes, grpc_context: Context) -> Message:
        async def do(message: Any) -> Message:
            return filled(
                pb.ModelConfigResponse(), {"config": await self._models.config(message.name, message.version)}
            )

        return await self._unary(request, pb.ModelConfigRequest, pb.ModelConfigResponse(), grpc_context, do)

    async def ModelStatistics(self, request: bytes, grpc_context: Context) -> Message:
        async def do(message: Any) -> Message:
            return filled(pb.ModelStatisticsResponse(), await self._models.statistics(message.name, message.version))

        return await self._unary(request, pb.ModelStatisticsRequest, pb.ModelStatisticsResponse(), grpc_context, do)

    async def RepositoryIndex(self, request: bytes, grpc_context: Context) -> Message:
        async def do(_: Any) -> Message:
            return filled(pb.RepositoryIndexResponse(), {"models": await self._models.index()})

        return await self._unary(request, pb.RepositoryIndexRequest, pb.RepositoryIndexResponse(), grpc_context, do)

    async def RepositoryModelLoad(self, request: bytes, grpc_context: Context) -> Message:
        async def do(message: Any) -> Message:
            await self._models.load(message.model_name, message.parameters)
            return pb.RepositoryModelLoadResponse()

        empty = pb.RepositoryModelLoadResponse()
        return await self._unary(request, pb.RepositoryModelLoadRequest, empty, grpc_context, do)

    async def RepositoryModelUnload(self, request: bytes, grpc_context: Context) -> Message:
        async def do(message: Any) -> Message:
            await self._models.unload(message.model_name)
            return pb.RepositoryModelUnloadResponse()

        empty = pb.RepositoryModelUnloadResponse()
        return await self._unary(request, pb.RepositoryModelUnloadRequest, empty, grpc_context, do)

    async def ModelInfer(self, request: bytes, grpc_context: Context) -> Message:
        with self._observed("ModelInfer", grpc_context):
            try:
                principal, client = await self._enter("ModelInfer", grpc_context)
                self._begin(principal, grpc_context)
                message = self._parse(request, pb.ModelInferRequest)
                await self._count(client, message.model_name)
                return await self._infer(message, principal.user_id)
            except Exception as error:  # as for the other methods
                set_error(grpc_context, as_known(error))
                return pb.ModelInferResponse()

    async def infer_directly(self, request: bytes, grpc_context: Context) -> bytes:
        """`ModelInfer` without the layers of Ray Serve, with the response as bytes."""
        self._ongoing(1)
        try:
            response: bytes = (await self.ModelInfer(request, grpc_context)).SerializeToString()
            return response
        finally:
            self._ongoing(-1)

    async def ModelStreamInfer(self, requests: AsyncIterator[bytes], grpc_context: Context) -> AsyncIterator[Message]:
        """Every answer to every request; a bad request gets an error message and the stream goes on.

        Requests to models with one answer run in sequence. Drawings run concurrently, and their answers (previews too,
        `preview_every`) are sent when they are ready, each with the id of its request.
        """
        with self._observed("ModelStreamInfer", grpc_context):
            try:
                principal, _ = await self._enter("ModelStreamInfer", grpc_context)
                self._begin(principal, grpc_context)
                with self._streams.taken(request_context.current().priority):
                    async with contextlib.aclosing(interleaved(self._jobs(requests, grpc_context))) as answers:
                        async for answer in answers:
                            yield answer
                request_context.current().left_s(MAX_TIMEOUT_S)  # as in gRPC, an answer after the deadline is an error
            except Exception as error:  # as for the other methods
                set_error(grpc_context, as_known(error))

    async def _jobs(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Job]:
        """Until the client ends its side of the stream, or the deadline passes."""
        stream_context = request_context.current()
        while (raw := await _next_in_time(requests, stream_context)) is not None:
            try:
                # The key may expire or be revoked during the stream.
                principal, client = await self._enter("ModelStreamInfer", context)
                message = self._parse(raw, pb.ModelInferRequest)
                await self._count(client, message.model_name)
            except AtelierError as error:
                yield Job(_once(failure_message(error)), concurrent=False)
            else:
                answers = self._answers(message, stream_context, principal.user_id)
                yield Job(answers, self._models.is_streaming(message.model_name))

    async def _answers(
        self, message: Any, stream_context: RequestContext, user_id: str
    ) -> AsyncGenerator[tuple[Message, bool]]:
        """The messages that answer one request of a stream, and whether each is the last. An error is a message too."""
        request_context.set_current(stream_context)  # the previous request may have set another
        flags = message.parameters["triton_enable_empty_final_response"].bool_param
        flagged = flags or self._models.is_streaming(message.model_name)
        try:
            request = to_request(message, self._max_tensors)
            request_context.set_current(context_with_parameters(request.parameters))
            with self._inferences.taken(request_context.current().priority):
                items = self._models.stream(message.model_name, message.model_version, request, user_id)
                async with contextlib.aclosing(items):
                    async for answer in items:
                        if not answer.final:
                            yield stream_response(message, answer, flagged), False
            yield stream_response(message, answer, flagged), True
        except Exception as error:  # as for the other methods
            yield failure_message(as_known(error), message, flagged), True

    async def _infer(self, message: Any, user_id: str) -> Any:
        request = to_request(message, self._max_tensors)
        context = context_with_parameters(request.parameters)
        with request_context.use(context), self._inferences.taken(context.priority):
            answer = await self._models.infer(message.model_name, message.model_version, request, user_id)
        return response_of(message, answer)


async def _next_in_time(requests: AsyncIterator[bytes], stream_context: RequestContext) -> bytes | None:
    """The next message; None at the end of the stream and at the deadline."""
    with contextlib.suppress(DeadlineExceeded, StopAsyncIteration), request_context.use(stream_context):
        async with request_context.deadline_timeout():
            return await anext(requests)
    return None


def _unsupported(name: str) -> Callable[..., Awaitable[Message]]:
    output = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name[name].output_type

    async def method(self: OpenInferenceServicer, request: bytes, grpc_context: Context) -> Message:
        set_error(grpc_context, Unsupported("this extension is not offered here"))
        return getattr(pb, output.name)()

    method.__name__ = name
    return method


for _method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
    if not hasattr(OpenInferenceServicer, _method.name):
        setattr(OpenInferenceServicer, _method.name, _unsupported(_method.name))


async def _once(message: Message) -> AsyncGenerator[tuple[Message, bool]]:
    yield message, True
