"""The open inference protocol over gRPC: ``inference.GRPCInferenceService`` as KServe and Triton define it.

The servicer takes raw bytes and parses them itself: a message that cannot be parsed then is the client's error
(INVALID_ARGUMENT) and not the server's, and nothing of protobuf has to be pickled on its way through Ray Serve.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as pb

from serve.api.http.bodies import ENVELOPE_BYTES
from serve.api.inference.codec import MAX_NAME
from serve.api.inference.description import Answer
from serve.api.inference.grpc_authentication import GrpcAuthentication, headers_of
from serve.api.inference.grpc_deadline import GrpcDeadline
from serve.api.inference.grpc_messages import CODE, RETRY_AFTER, filled, parse, tell_parameters, to_message, to_request
from serve.api.inference.grpc_stream import Job, interleaved
from serve.api.inference.grpc_trace import observed
from serve.api.inference.models import Models
from serve.api.middleware.admission import AdmissionSlots
from serve.api.middleware.authentication import Authentication
from serve.api.middleware.deadlines import MAX_TIMEOUT_S, asked_by, read
from serve.api.middleware.request_metrics import GRPC, count_refusal, ends_by
from serve.errors import AtelierError, DeadlineExceeded, EngineFailure, Overloaded, TooLarge, Unsupported
from serve.observability import request_context
from serve.observability.request_context import RequestContext
from serve.security.identity.roles import LOCAL, Principal
from serve.security.limits.limiter import Client
from serve.settings import Settings

log = logging.getLogger(__name__)

SERVICE = "inference.GRPCInferenceService"

_RAYS = "request_id"
"""Ray Serve's context adds it to whatever metadata is set."""
MAX_DETAILS = 1024
"""Characters of an error's text: clients refuse headers, which carry it, beyond 8 KiB."""


class Context(Protocol):
    """What grpc.aio's context and Ray Serve's have in common."""

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]] | None: ...
    def peer(self) -> str: ...
    def set_code(self, code: grpc.StatusCode) -> None: ...
    def set_details(self, details: str) -> None: ...
    def trailing_metadata(self) -> Any: ...
    def set_trailing_metadata(self, trailing_metadata: Any) -> None: ...
    def code(self) -> Any: ...


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


class OpenInferenceServicer:
    """One coroutine per method. Errors set the status and answer an empty message, so that no trace is logged."""

    def __init__(self, models: Models, settings: Settings, entrance: Authentication | None = None) -> None:
        """Without an ``entrance`` nobody needs a key, and nobody is told to come again later."""
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
            except Exception as error:  # the last handler, as HTTP has one: what is no error of ours stays in the log
                _tell(context, as_known(error))
                return empty

    def _observed(self, method: str, context: Context) -> contextlib.AbstractContextManager[None]:
        return observed(SERVICE, method, context, self._records)

    async def _enter(self, method: str, context: Context) -> tuple[Principal, Client | None]:
        return (LOCAL, None) if self._callers is None else await self._callers.enter(method, context)

    def _begin(self, principal: Principal, context: Context) -> None:
        """What follows is as urgent as the call says, and ends when gRPC's own deadline does or before. Raises
        InvalidRequest, Forbidden."""
        asked = read(headers_of(context), time.monotonic(), principal, self._gateway)
        request_context.set_current(asked.with_earlier_deadline(request_context.current()))
        ends_by(request_context.current().deadline)

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
                _tell(grpc_context, as_known(error))
                return pb.ModelInferResponse()

    async def ModelStreamInfer(self, requests: AsyncIterator[bytes], grpc_context: Context) -> AsyncIterator[Message]:
        """Every answer to every request; a bad request gets an error message and the stream goes on.

        Models that answer once are asked one request after another, in order. Drawings run beside them and one
        another, and their answers (previews too, `preview_every`) come as they are ready: the request's id tells which.
        """
        with self._observed("ModelStreamInfer", grpc_context):
            try:
                principal, _ = await self._enter("ModelStreamInfer", grpc_context)
                self._begin(principal, grpc_context)
                with self._streams.taken(request_context.current().priority):
                    async with contextlib.aclosing(interleaved(self._jobs(requests, grpc_context))) as answers:
                        async for answer in answers:
                            yield answer
                request_context.current().left_s(MAX_TIMEOUT_S)  # as in gRPC: late answers are errors
            except Exception as error:  # as for the other methods
                _tell(grpc_context, as_known(error))

    async def _jobs(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Job]:
        """Until the client says no more, or its deadline is over."""
        asked = request_context.current()
        while (raw := await _next_in_time(requests, asked)) is not None:
            try:
                # A key may end while a stream goes on.
                principal, client = await self._enter("ModelStreamInfer", context)
                message = self._parse(raw, pb.ModelInferRequest)
                await self._count(client, message.model_name)
            except AtelierError as error:
                yield Job(_once(_refusal(error)), beside=False)
            else:
                answers = self._answers(message, asked, principal.user_id)
                yield Job(answers, self._models.is_streaming(message.model_name))

    async def _answers(self, message: Any, asked: RequestContext, user_id: str) -> AsyncGenerator[tuple[Message, bool]]:
        """The messages that answer one request of a stream that is ``asked`` for so, and whether each is the last; an
        error is a message too."""
        request_context.set_current(asked)  # the request before it may have had another
        flags = message.parameters["triton_enable_empty_final_response"].bool_param
        flagged = flags or self._models.is_streaming(message.model_name)
        try:
            request = to_request(message, self._max_tensors)
            request_context.set_current(asked_by(request.parameters))
            with self._inferences.taken(request_context.current().priority):
                items = self._models.stream(message.model_name, message.model_version, request, user_id)
                async with contextlib.aclosing(items):
                    async for answer in items:
                        if not answer.final:
                            yield _streamed(message, answer, flagged), False
            yield _streamed(message, answer, flagged), True
        except Exception as error:  # as for the other methods
            yield _refusal(as_known(error), message, flagged), True

    async def _infer(self, message: Any, user_id: str) -> Any:
        request = to_request(message, self._max_tensors)
        asked = asked_by(request.parameters)
        with request_context.use(asked), self._inferences.taken(asked.priority):
            answer = await self._models.infer(message.model_name, message.model_version, request, user_id)
        return _told(message, answer)


async def _next_in_time(requests: AsyncIterator[bytes], asked: RequestContext) -> bytes | None:
    """None at the end, and at the deadline."""
    with contextlib.suppress(DeadlineExceeded, StopAsyncIteration), request_context.use(asked):
        async with request_context.deadline_timeout():
            return await anext(requests)
    return None


def _unsupported(name: str) -> Callable[..., Awaitable[Message]]:
    output = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name[name].output_type

    async def method(self: OpenInferenceServicer, request: bytes, grpc_context: Context) -> Message:
        _tell(grpc_context, Unsupported("this extension is not offered here"))
        return getattr(pb, output.name)()

    method.__name__ = name
    return method


for _method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
    if not hasattr(OpenInferenceServicer, _method.name):
        setattr(OpenInferenceServicer, _method.name, _unsupported(_method.name))


def as_known(error: Exception) -> AtelierError:
    """``error`` if it is one of ours; else a failure with a fixed text, its own being logged and kept inside."""
    if isinstance(error, AtelierError):
        return error
    log.error("an unforeseen error at the gRPC door", exc_info=error)
    return EngineFailure("an internal error; the log has it")


def _tell(context: Context, error: AtelierError) -> None:
    count_refusal(GRPC, error)
    if error.status >= 500 and not isinstance(error, Overloaded | Unsupported):
        log.warning("answered %s %s: %s", error.grpc_code, type(error).__name__, error)
    context.set_code(getattr(grpc.StatusCode, error.grpc_code))
    context.set_details(ascii_text(error))
    if error.retry_after_s is not None:
        told = [one for one in context.trailing_metadata() or () if one[0] != _RAYS]
        context.set_trailing_metadata([*told, ("retry-after", str(error.retry_after_s))])


def ascii_text(error: AtelierError) -> str:
    """gRPC details travel in a header: ASCII, and not too long for one."""
    text = str(error).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= MAX_DETAILS else f"{text[: MAX_DETAILS - 3]}..."


def _told(asked: Any, answer: Answer) -> Any:
    response = to_message(asked.model_name, answer.version, asked.id, answer.outputs)
    tell_parameters(response, answer.parameters)
    return response


def _streamed(asked: Any, answer: Answer, flagged: bool) -> Message:
    """``answer`` to the request ``asked``; ``flagged``: it says whether it is the last one."""
    response = _told(asked, answer)
    if flagged:
        tell_parameters(response, {"triton_final_response": answer.final})
    return pb.ModelStreamInferResponse(infer_response=response)


def _refusal(error: AtelierError, asked: Any = None, flagged: bool = False) -> Message:
    """The error's text; in the response beside it its code, when to come again, and the id of the request that it
    answers."""
    count_refusal(GRPC, error)
    response = pb.ModelStreamInferResponse(error_message=ascii_text(error))
    tell_parameters(response.infer_response, {CODE: error.grpc_code})
    if error.retry_after_s is not None:
        tell_parameters(response.infer_response, {RETRY_AFTER: error.retry_after_s})
    if asked is not None:
        response.infer_response.id = asked.id[:MAX_NAME]
        if flagged:
            tell_parameters(response.infer_response, {"triton_final_response": True})
    return response


async def _once(message: Message) -> AsyncGenerator[tuple[Message, bool]]:
    yield message, True
