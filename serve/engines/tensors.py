"""Conversion between arrays and the tensors of the open inference protocol (gRPC messages, raw contents)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from serve.engines.warmup_inputs import CONFIG_TYPES
from serve.errors import EngineFailure, EngineUnavailable, InvalidRequest
from serve.observability import tracing

#: Numpy types by the protocol's datatype names. BYTES is an object array of ``bytes`` (or ``str``, sent as UTF-8).
NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    name.removeprefix("TYPE_").replace("STRING", "BYTES"): dtype for name, dtype in CONFIG_TYPES.items()
}
_DATATYPES = {dtype: name for name, dtype in NUMPY_TYPES.items()}


def datatype(array: NDArray[Any], field: str | None = None) -> str:
    """The protocol's datatype of the array. Raises InvalidRequest, naming ``field``, for an unsupported type."""
    if array.dtype.kind in "SU":
        return "BYTES"
    try:
        return _DATATYPES[array.dtype]
    except KeyError:
        raise InvalidRequest(f"arrays of type {array.dtype} cannot be sent", field) from None


def encode(array: NDArray[Any]) -> bytes:
    """The raw contents of a tensor: C order, little-endian; each BYTES element prefixed with its 4-byte length."""
    if array.dtype.kind not in "OSU":
        return array.tobytes()
    encoded = serialize_byte_tensor(array.astype(np.object_))
    return b"" if encoded is None or encoded.size == 0 else bytes(encoded.item())


def decode(raw: bytes, name: str, shape: Sequence[int]) -> NDArray[Any]:
    """A read-only view of ``raw`` as datatype ``name`` (BYTES: a new object array)."""
    if name not in NUMPY_TYPES:
        raise EngineFailure(f"tensors of type {name} cannot be read")
    flat = deserialize_bytes_tensor(raw) if name == "BYTES" else np.frombuffer(raw, NUMPY_TYPES[name])
    return flat.reshape(shape)


def request(engine: str, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None, version: str = "") -> Any:
    """A ``ModelInferRequest`` with tensor names and shapes. The caller adds the contents."""
    request_id = tracing.current().request_id  # appears in Triton's log
    message = service_pb2.ModelInferRequest(model_name=engine, model_version=version, id=request_id)
    for name, array in inputs.items():
        message.inputs.add(name=name, datatype=datatype(array, name), shape=array.shape)
    for name in outputs or ():
        message.outputs.add(name=name)
    return message


def arrays(response: Any) -> dict[str, NDArray[Any]]:
    """The outputs of a ``ModelInferResponse`` by name.

    Raises EngineUnavailable if contents do not match their shape, which Triton sends after losing a stub.
    """
    try:
        return {
            output.name: decode(raw, output.datatype, output.shape)
            for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
        }
    except ValueError as error:
        raise EngineUnavailable(f"engine '{response.model_name}' gave an answer that is not whole: {error}") from None


def to_json(message: Message) -> dict[str, Any]:
    """A message as JSON of the HTTP protocol (enums by name, 64-bit integers as numbers): all fields, unset ones with
    their defaults, except unset sub-messages."""
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name["value"]
        return {str(key): _scalar(entry, value[key]) for key in value}
    if field.is_repeated:
        return [_scalar(field, item) for item in value]
    return _scalar(field, value)


def _scalar(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return to_json(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return value
