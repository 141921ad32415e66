"""Messages of ``inference.GRPCInferenceService`` <-> the requests and arrays that HTTP has too. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from tritonclient.grpc import service_pb2 as pb

from serve.api.inference.codec import MAX_NAME, InferRequest, RequestedOutput, check_id, check_name, check_outputs
from serve.api.inference.description import Answer
from serve.api.inference.tensors import (
    DTYPES,
    Array,
    Tensor,
    bytes_array,
    check_count,
    check_shape,
    datatype_of,
    from_binary,
    from_numbers,
    to_binary,
)
from serve.errors import AtelierError, InvalidRequest

MAX_DETAILS = 1024
"""Characters of an error's text. It travels in a header, and clients refuse headers above 8 KiB."""
CODE = "grpc_status"
"""The parameter with the status code's name: an error in a stream has no code of its own, only a text."""
RETRY_AFTER = "retry_after"
"""The parameter with the seconds until a retry may succeed."""

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
"""The field of ``InferTensorContents`` for each datatype; FP16 and BF16 are sent as raw contents only."""
_PARAMETERS = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}


def parse(raw: bytes, kind: type[Message]) -> Any:
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise InvalidRequest(f"is not a {kind.DESCRIPTOR.name} message") from None


def filled(message: Message, values: dict[str, Any]) -> Message:
    return json_format.ParseDict(values, message, ignore_unknown_fields=True)


def to_request(message: Any, max_tensors: int) -> InferRequest:
    """A ``ModelInferRequest`` with raw or typed contents as an `InferRequest`."""
    if not 1 <= len(message.inputs) <= max_tensors:
        raise InvalidRequest(f"must name 1 to {max_tensors} tensors", "inputs")
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise InvalidRequest(f"{len(raw)} raw contents for {len(message.inputs)} inputs", "raw_input_contents")
    tensors = tuple(_tensor(entry, raw[i] if raw else None) for i, entry in enumerate(message.inputs))
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise InvalidRequest("an input is named twice", "inputs")
    outputs = tuple(RequestedOutput(check_name(entry.name, "outputs")) for entry in check_outputs(message.outputs))
    parameters = {name: parameter_of(value) for name, value in message.parameters.items()}
    return InferRequest(tensors, outputs, check_id(message.id), parameters)


def _tensor(entry: Any, raw: bytes | None) -> Tensor:
    name, datatype = check_name(entry.name, "inputs"), entry.datatype
    if datatype not in {*DTYPES, "BF16", "BYTES"}:
        raise InvalidRequest(f"datatype must be one of {', '.join([*DTYPES, 'BF16', 'BYTES'])}", name)
    shape = check_shape(list(entry.shape), name)
    if raw is not None:
        if entry.contents.ListFields():
            raise InvalidRequest("has contents of its own beside the raw ones", name)
        return Tensor(name, datatype, from_binary(raw, datatype, shape, name))
    if datatype not in _CONTENTS:
        raise InvalidRequest(f"{datatype} can only be sent as raw contents", name)
    values = getattr(entry.contents, _CONTENTS[datatype])
    check_count(len(values), shape, name)
    if datatype == "BYTES":
        return Tensor(name, datatype, bytes_array(list(values), shape, name))
    if DTYPES[datatype].kind == "f":
        return Tensor(name, datatype, np.array(values, DTYPES[datatype]).reshape(shape))
    return Tensor(name, datatype, from_numbers(list(values), datatype, shape, name))


def parameter_of(value: Any) -> Any:
    choice = value.WhichOneof("parameter_choice")
    return getattr(value, choice) if choice else None


def to_message(model: str, version: str, request_id: str, outputs: dict[str, Array]) -> Any:
    """A ``ModelInferResponse`` with raw contents, which every client reads."""
    answer = pb.ModelInferResponse(model_name=model, model_version=version, id=request_id)
    for name, array in outputs.items():
        answer.outputs.add(name=name, datatype=datatype_of(array), shape=list(array.shape))
        answer.raw_output_contents.append(to_binary(array))
    return answer


def set_parameters(message: Any, parameters: Mapping[str, Any]) -> None:
    """Sets ``parameters`` of a request or a response: booleans, numbers or text."""
    for name, value in parameters.items():
        setattr(message.parameters[name], _PARAMETERS[type(value)], value)


def ascii_text(error: AtelierError) -> str:
    """The error's text as gRPC details, which travel in a header: ASCII, and cut to ``MAX_DETAILS``."""
    text = str(error).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= MAX_DETAILS else f"{text[: MAX_DETAILS - 3]}..."


def response_of(request: Any, answer: Answer) -> Any:
    response = to_message(request.model_name, answer.version, request.id, answer.outputs)
    set_parameters(response, answer.parameters)
    return response


def stream_response(request: Any, answer: Answer, flagged: bool) -> Message:
    """``answer`` as a message of a stream; ``flagged``: with Triton's flag for the last answer to a request."""
    response = response_of(request, answer)
    if flagged:
        set_parameters(response, {"triton_final_response": answer.final})
    return pb.ModelStreamInferResponse(infer_response=response)


def stream_error(error: AtelierError, request: Any = None, flagged: bool = False) -> Message:
    """The error's text, and in the empty response beside it the code, Retry-After and the id of ``request``."""
    response = pb.ModelStreamInferResponse(error_message=ascii_text(error))
    set_parameters(response.infer_response, {CODE: error.grpc_code})
    if error.retry_after_s is not None:
        set_parameters(response.infer_response, {RETRY_AFTER: error.retry_after_s})
    if request is not None:
        response.infer_response.id = request.id[:MAX_NAME]
        if flagged:
            set_parameters(response.infer_response, {"triton_final_response": True})
    return response
