"""The open inference protocol over gRPC: ``inference.GRPCInferenceService`` as KServe and Triton define it.

The servicer takes raw bytes and parses them itself: a message that cannot be parsed then is the client's error
(INVALID_ARGUMENT) and not the server's, and nothing of protobuf has to be pickled on its way through Ray Serve.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from tritonclient.grpc import service_pb2 as pb

from serve.api.admission import Places
from serve.api.bodies import ENVELOPE_BYTES
from serve.api.open_inference.codec import InferRequest, RequestedOutput, check_id, check_name
from serve.api.open_inference.models import Models
from serve.api.open_inference.tensors import (
    DTYPES,
    Array,
    Tensor,
    bytes_array,
    check_finite,
    check_shape,
    datatype_of,
    from_binary,
    from_numbers,
    to_binary,
)
from serve.errors import AtelierError, EngineFailure, InvalidRequest, Overloaded, TooLarge, Unsupported
from serve.settings import Settings

log = logging.getLogger(__name__)

SERVICE = "inference.GRPCInferenceService"

MAX_DETAILS = 1024
"""Characters of an error's text: clients refuse headers, which carry it, beyond 8 KiB."""

_CONTENTS = {
    "BOOL": "bool_contents",
    "UINT64": "uint64_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
    **{f"INT{bits}": "int_contents" for bits in (8, 16, 32)},
    **{f"UINT{bits}": "uint_contents" for bits in (8, 16, 32)},
}
"""Where ``InferTensorContents`` keeps each datatype; FP16 and BF16 only travel raw."""


class Context(Protocol):
    """What grpc.aio's context and Ray Serve's have in common."""

    def set_code(self, code: grpc.StatusCode) -> None: ...
    def set_details(self, details: str) -> None: ...


def add_servicer_to_server(servicer: Any, server: Any) -> None:
    """As the generated function of this name, but requests stay bytes. Ray Serve imports it by its path."""
    handlers = {}
    for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
        implementation = getattr(servicer, method.name)
        handler = (
            grpc.stream_stream_rpc_method_handler if method.client_streaming else grpc.unary_unary_rpc_method_handler
        )
        handlers[method.name] = handler(implementation, response_serializer=lambda message: message.SerializeToString())
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


class OpenInferenceServicer:
    """One coroutine per method. Errors set the status and answer an empty message, so that no trace is logged."""

    def __init__(self, models: Models, settings: Settings) -> None:
        self._models = models
        self._max_body_bytes = settings.limits.max_body_bytes + ENVELOPE_BYTES
        self._max_tensors = settings.limits.max_tensors
        self._inferences = Places(settings.gateway.max_ongoing_requests)
        self._streams = Places(settings.gateway.max_ongoing_requests)

    async def _unary(
        self, raw: bytes, kind: type[Message], empty: Message, context: Context, do: Callable[[Any], Awaitable[Message]]
    ) -> Message:
        try:
            return await do(self._parse(raw, kind))
        except Exception as error:  # the last handler, as HTTP has one: what is no error of ours stays in the log
            _tell(context, as_known(error))
            return empty

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
            return _fill(pb.ModelMetadataResponse(), await self._models.metadata(message.name, message.version))

        return await self._unary(request, pb.ModelMetadataRequest, pb.ModelMetadataResponse(), grpc_context, do)

    async def ModelConfig(self, request: bytes, grpc_context: Context) -> Message:
        async def do(message: Any) -> Message:
            return _fill(pb.ModelConfigResponse(), {"config": await self._models.config(message.name, message.version)})

        return await self._unary(request, pb.ModelConfigRequest, pb.ModelConfigResponse(), grpc_context, do)

    async def ModelStatistics(self, request: bytes, grpc_context: Context) -> Message:
        async def do(message: Any) -> Message:
            return _fill(pb.ModelStatisticsResponse(), await self._models.statistics(message.name, message.version))

        return await self._unary(request, pb.ModelStatisticsRequest, pb.ModelStatisticsResponse(), grpc_context, do)

    async def RepositoryIndex(self, request: bytes, grpc_context: Context) -> Message:
        async def do(_: Any) -> Message:
            return _fill(pb.RepositoryIndexResponse(), {"models": await self._models.index()})

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
        return await self._unary(request, pb.ModelInferRequest, pb.ModelInferResponse(), grpc_context, self._infer)

    async def ModelStreamInfer(self, requests: AsyncIterator[bytes], grpc_context: Context) -> AsyncIterator[Message]:
        """One answer per request, in order; a bad request gets an error message and the stream goes on."""
        try:
            with self._streams.taken():
                async for raw in requests:
                    yield await self._streamed(raw)
        except Overloaded as error:
            _tell(grpc_context, error)

    async def _streamed(self, raw: bytes) -> Message:
        try:
            message = self._parse(raw, pb.ModelInferRequest)
            answer = await self._infer(message)
        except Exception as error:  # as for the other methods
            return pb.ModelStreamInferResponse(error_message=ascii_text(as_known(error)))
        if message.parameters["triton_enable_empty_final_response"].bool_param:
            answer.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=answer)

    async def _infer(self, message: Any) -> Any:
        request = to_request(message, self._max_tensors)
        with self._inferences.taken():
            version, outputs = await self._models.infer(message.model_name, message.model_version, request)
        return to_message(message.model_name, version, message.id, outputs)


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


def parse(raw: bytes, kind: type[Message]) -> Any:
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise InvalidRequest(f"is not a {kind.DESCRIPTOR.name} message") from None


def as_known(error: Exception) -> AtelierError:
    """``error`` if it is one of ours; else a failure with a fixed text, its own being logged and kept inside."""
    if isinstance(error, AtelierError):
        return error
    log.error("an unforeseen error at the gRPC door", exc_info=error)
    return EngineFailure("an internal error; the log has it")


def _tell(context: Context, error: AtelierError) -> None:
    context.set_code(getattr(grpc.StatusCode, error.grpc_code))
    context.set_details(ascii_text(error))


def ascii_text(error: AtelierError) -> str:
    """gRPC details travel in a header: ASCII, and not too long for one."""
    text = str(error).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= MAX_DETAILS else f"{text[: MAX_DETAILS - 3]}..."


def _fill(message: Message, values: dict[str, Any]) -> Message:
    return json_format.ParseDict(values, message, ignore_unknown_fields=True)


def to_request(message: Any, max_tensors: int) -> InferRequest:
    """A ``ModelInferRequest`` with raw or typed contents as the request that both doors share."""
    if not 1 <= len(message.inputs) <= max_tensors:
        raise InvalidRequest(f"must name 1 to {max_tensors} tensors", "inputs")
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise InvalidRequest(f"{len(raw)} raw contents for {len(message.inputs)} inputs", "raw_input_contents")
    tensors = tuple(_tensor(entry, raw[i] if raw else None) for i, entry in enumerate(message.inputs))
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise InvalidRequest("an input is named twice", "inputs")
    outputs = tuple(RequestedOutput(check_name(entry.name, "outputs")) for entry in message.outputs)
    parameters = {name: _parameter(value) for name, value in message.parameters.items()}
    return InferRequest(tensors, outputs, check_id(message.id), parameters)


def _tensor(entry: Any, raw: bytes | None) -> Tensor:
    name, datatype = check_name(entry.name, "inputs"), entry.datatype
    if datatype not in {*DTYPES, "BF16", "BYTES"}:
        raise InvalidRequest(f"datatype must be one of {', '.join([*DTYPES, 'BF16', 'BYTES'])}", name)
    shape = check_shape(list(entry.shape), name)
    if raw is not None:
        return Tensor(name, datatype, from_binary(raw, datatype, shape, name))
    if datatype not in _CONTENTS:
        raise InvalidRequest(f"{datatype} can only be sent as raw contents", name)
    values = getattr(entry.contents, _CONTENTS[datatype])
    if datatype == "BYTES":
        return Tensor(name, datatype, bytes_array(list(values), shape, name))
    return Tensor(name, datatype, check_finite(from_numbers(list(values), datatype, shape, name), name))


def _parameter(value: Any) -> Any:
    choice = value.WhichOneof("parameter_choice")
    return getattr(value, choice) if choice else None


def to_message(model: str, version: str, request_id: str, outputs: dict[str, Array]) -> Any:
    """A ``ModelInferResponse`` with raw contents, which every client reads."""
    answer = pb.ModelInferResponse(model_name=model, model_version=version, id=request_id)
    for name, array in outputs.items():
        answer.outputs.add(name=name, datatype=datatype_of(array), shape=list(array.shape))
        answer.raw_output_contents.append(to_binary(array))
    return answer
