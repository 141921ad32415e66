"""Requests and responses of the open inference protocol over REST: JSON with an optional binary tail. Pure functions.

Source: kserve/open-inference-protocol (REST), Triton's binary tensor data extension. A request body is a JSON object;
with ``Inference-Header-Content-Length: n`` the object is its first ``n`` bytes and the tensors that carry
``binary_data_size`` follow it in order, little-endian, row-major; an element of BYTES is its length (uint32) and its
bytes. Anything that does not fit raises ``InvalidRequest`` with the input's name as the field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Response

from serve.api.http.bodies import parse_json
from serve.api.inference.tensors import (
    BINARY_ONLY,
    DTYPES,
    Array,
    Tensor,
    check_shape,
    datatype_of,
    from_binary,
    from_json,
    to_binary,
    to_json,
)
from serve.errors import InvalidRequest

MAX_NAME = 256
MAX_OUTPUTS = 256

HEADER_LENGTH = "Inference-Header-Content-Length"

NO_PARAMETERS: Mapping[str, Any] = {}

MAX_JSON_VALUES = 4 * 1024 * 1024
"""Values of one output in JSON, which needs ten times the memory and time of the binary form."""


@dataclass(frozen=True)
class RequestedOutput:
    name: str
    binary: bool | None = None


@dataclass(frozen=True)
class InferRequest:
    inputs: tuple[Tensor, ...]
    outputs: tuple[RequestedOutput, ...] = ()
    id: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def wants_binary(self, output: str) -> bool:
        """Whether ``output`` goes into the binary tail: its own parameter, else the request's default."""
        for requested in self.outputs:
            if requested.name == output and requested.binary is not None:
                return requested.binary
        return self.parameters.get("binary_data_output") is True


# --- requests ---------------------------------------------------------------------------------------------------------


def decode_request(body: bytes, header_length: int | None = None, *, max_tensors: int = 16) -> InferRequest:
    """``header_length`` is the value of ``Inference-Header-Content-Length``; without it all of ``body`` is JSON."""
    if header_length is not None and not 0 <= header_length <= len(body):
        raise InvalidRequest(f"must be from 0 to the body's {len(body)} bytes", HEADER_LENGTH)
    document = parse_json(body if header_length is None else body[:header_length])
    tail = memoryview(b"" if header_length is None else body)[header_length or 0 :]
    inputs = _list(document.get("inputs"), "inputs")
    if not 1 <= len(inputs) <= max_tensors:
        raise InvalidRequest(f"must name 1 to {max_tensors} tensors", "inputs")
    tensors = []
    for entry in inputs:
        tensor, used = _decode_input(entry, tail)
        tensors.append(tensor)
        tail = tail[used:]
    if len(tail):
        raise InvalidRequest(f"{len(tail)} bytes after the last tensor", "inputs")
    names = [tensor.name for tensor in tensors]
    if len(set(names)) != len(names):
        raise InvalidRequest("an input is named twice", "inputs")
    request_id = check_id(document.get("id", ""))
    outputs = tuple(map(_requested_output, check_outputs(_list(document.get("outputs") or [], "outputs"))))
    return InferRequest(tuple(tensors), outputs, request_id, parameters_of(document, "parameters"))


def json_bytes_of(header: str | None) -> int | None:
    """The value of ``Inference-Header-Content-Length``. Raises InvalidRequest."""
    if header is None:
        return None
    if not header.isascii() or not header.isdigit() or len(header) > 12:
        raise InvalidRequest("must be a number of bytes", HEADER_LENGTH)
    return int(header)


def _decode_input(entry: Any, tail: memoryview) -> tuple[Tensor, int]:
    """One input and how many bytes of ``tail`` it took."""
    if not isinstance(entry, dict):
        raise InvalidRequest("each must be an object", "inputs")
    name = check_name(entry.get("name"), "inputs")
    datatype = entry.get("datatype")
    if not isinstance(datatype, str) or datatype not in {*DTYPES, "BF16", "BYTES"}:
        raise InvalidRequest(f"datatype must be one of {', '.join([*DTYPES, 'BF16', 'BYTES'])}", name)
    shape = check_shape(entry.get("shape"), name)
    parameters = parameters_of(entry, name)
    size = parameters.get("binary_data_size")
    if size is None:
        return from_json(name, datatype, shape, entry.get("data"), parameters), 0
    if entry.get("data") is not None:
        raise InvalidRequest("has `data` and binary_data_size; send one of them", name)
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(tail):
        raise InvalidRequest(f"binary_data_size must be from 0 to the {len(tail)} bytes that are left", name)
    return Tensor(name, datatype, from_binary(tail[:size], datatype, shape, name)), size


def _requested_output(entry: Any) -> RequestedOutput:
    if not isinstance(entry, dict):
        raise InvalidRequest("each must be an object", "outputs")
    name = check_name(entry.get("name"), "outputs")
    parameters = parameters_of(entry, name)
    if "classification" in parameters:
        raise InvalidRequest("the classification extension is not supported", name)
    binary = parameters.get("binary_data")
    return RequestedOutput(name, binary if isinstance(binary, bool) else None)


def check_name(name: Any, field: str) -> str:
    """``name`` of a tensor, which answers repeat. Raises ``InvalidRequest`` for one that they cannot."""
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidRequest(f"each needs a name of 1 to {MAX_NAME} printable characters", field)
    return name


def check_outputs(outputs: Sequence[Any]) -> Sequence[Any]:
    """The ``outputs`` that a request names. Raises ``InvalidRequest`` for more than any model has."""
    if len(outputs) > MAX_OUTPUTS:
        raise InvalidRequest(f"must be at most {MAX_OUTPUTS}", "outputs")
    return outputs


def check_id(request_id: Any) -> str:
    """The request's ``id``, which the answer repeats."""
    if not isinstance(request_id, str) or len(request_id) > MAX_NAME:
        raise InvalidRequest(f"must be a string of at most {MAX_NAME} characters", "id")
    return request_id


def _list(value: Any, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidRequest("must be a list", field)
    return value


def parameters_of(entry: dict[str, Any], field: str) -> dict[str, Any]:
    """The optional member ``parameters`` of ``entry``."""
    parameters = entry.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidRequest("parameters must be an object", field)
    return parameters


# --- responses --------------------------------------------------------------------------------------------------------


def encode_response(
    model: str,
    version: str,
    request: InferRequest,
    outputs: Mapping[str, Array],
    parameters: Mapping[str, Any] = NO_PARAMETERS,
) -> tuple[bytes, int | None]:
    """The response body, and the length of its JSON part when a binary tail follows it. ``parameters`` are those of the
    response: single values."""
    entries: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for name, array in outputs.items():
        datatype = datatype_of(array)
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if request.wants_binary(name) or datatype in BINARY_ONLY:
            tail.append(to_binary(array))
            entry["parameters"] = {"binary_data_size": len(tail[-1])}
        elif array.size > MAX_JSON_VALUES:
            raise InvalidRequest(f"has {array.size} values, too many for JSON; ask for binary data", name)
        else:
            entry["data"] = to_json(name, array)
        entries.append(entry)
    document: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": entries}
    if parameters:
        document["parameters"] = dict(parameters)
    if request.id:
        document["id"] = request.id
    head = _JSON.encode(document).encode()
    return (b"".join([head, *tail]), len(head)) if tail else (head, None)


_JSON = json.JSONEncoder(allow_nan=False)


def as_response(content: bytes, json_bytes: int | None) -> Response:
    """The HTTP response of what `encode_response` returns."""
    if json_bytes is None:
        return Response(content, 200, media_type="application/json")
    return Response(content, 200, {HEADER_LENGTH: str(json_bytes)}, "application/octet-stream")
