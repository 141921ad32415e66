"""Messages of ``inference.GRPCInferenceService`` <-> the requests and arrays that both doors share. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from tritonclient.grpc import service_pb2 as pb

from serve.api.inference.codec import InferRequest, RequestedOutput, check_id, check_name, check_outputs
from serve.api.inference.tensors import (
    DTYPES,
    Array,
    Tensor,
    bytes_array,
    check_count,
    check_finite,
    check_shape,
    datatype_of,
    from_binary,
    from_numbers,
    to_binary,
)
from serve.errors import InvalidRequest

CODE = "grpc_status"
"""The parameter with the name of the status that a unary call would have had: a stream's errors are only text."""
RETRY_AFTER = "retry_after"
"""Beside it, in seconds, where to come again may help."""

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


_PARAMETERS = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}


def parse(raw: bytes, kind: type[Message]) -> Any:
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise InvalidRequest(f"is not a {kind.DESCRIPTOR.name} message") from None


def filled(message: Message, values: dict[str, Any]) -> Message:
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
    return Tensor(name, datatype, check_finite(from_numbers(list(values), datatype, shape, name), name))


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


def tell_parameters(message: Any, parameters: Mapping[str, Any]) -> None:
    """``parameters`` of a request or a response: truth values, numbers or text."""
    for name, value in parameters.items():
        setattr(message.parameters[name], _PARAMETERS[type(value)], value)
