"""The open inference protocol's tensors <-> numpy, in JSON and in the binary form. Pure functions.

The binary form is little-endian and row-major; an element of BYTES is its length (uint32) and its bytes. Anything that
does not fit raises ``InvalidRequest`` with the tensor's name as the field.
Source: kserve/open-inference-protocol (REST), Triton's binary tensor data extension.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.engines.warmup_inputs import CONFIG_TYPES
from serve.errors import EngineFailure, InvalidRequest

Array = npt.NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    name.removeprefix("TYPE_"): dtype.newbyteorder("<") for name, dtype in CONFIG_TYPES.items() if dtype != np.object_
}
"""Datatypes with a numpy equal. BF16 travels as float32 here, BYTES as an object array of ``bytes``."""

_JSON_TYPES: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}
BINARY_ONLY = frozenset({"FP16", "BF16"})
MAX_DIMENSIONS = 8


@dataclass(frozen=True)
class Tensor:
    """``array`` has the tensor's shape. ``from_text`` says that BYTES came as JSON strings, which hold no raw bytes."""

    name: str
    datatype: str
    array: Array
    from_text: bool = False


def check_shape(shape: Any, field: str) -> tuple[int, ...]:
    """``shape`` as a tuple; every size from 0 to 2^31 - 1."""
    if not isinstance(shape, Sequence) or isinstance(shape, str | bytes) or len(shape) > MAX_DIMENSIONS:
        raise InvalidRequest(f"shape must be a list of at most {MAX_DIMENSIONS} sizes", field)
    if any(isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 2**31 for size in shape):
        raise InvalidRequest("every size of the shape must be a whole number from 0", field)
    return tuple(shape)


def from_json(name: str, datatype: str, shape: tuple[int, ...], data: Any, parameters: Mapping[str, Any]) -> Tensor:
    if not isinstance(data, list):
        raise InvalidRequest("needs `data` (a list) or binary data", name)
    if datatype in BINARY_ONLY:
        raise InvalidRequest(f"{datatype} can only be sent as binary data", name)
    if datatype == "BYTES":
        strings = _strings(data, name)
        if parameters.get("content_type") == "base64":
            elements = [decode_base64(text, name) for text in strings]
            return Tensor(name, datatype, bytes_array(elements, shape, name))
        return Tensor(name, datatype, bytes_array([_utf8(text, name) for text in strings], shape, name), from_text=True)
    return Tensor(name, datatype, from_numbers(data, datatype, shape, name))


def from_numbers(data: list[Any], datatype: str, shape: tuple[int, ...], name: str) -> Array:
    """The array of the numbers in JSON, which has none that are not finite: these are numbers beyond the datatype."""
    dtype = DTYPES[datatype]
    flat = _flatten(data, name)
    check_count(len(flat), shape, name)
    # Types are checked first: numpy would widen mixed strings into a huge array.
    if not set(map(type, flat)) <= _JSON_TYPES[dtype.kind]:
        raise InvalidRequest(f"data does not hold {datatype} values", name)
    if dtype.kind in "iu" and flat:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        if min(flat) < low or max(flat) > high:
            raise InvalidRequest(f"a value is outside {datatype}'s range of {low} to {high}", name)
    try:
        with np.errstate(over="ignore"):
            values = np.array(flat, dtype)
    except OverflowError:
        raise InvalidRequest("every number must be finite", name) from None
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InvalidRequest("every number must be finite", name)
    return _shaped(values, shape, name)


def _flatten(data: list[Any], name: str) -> list[Any]:
    for _ in range(MAX_DIMENSIONS):
        nested = [isinstance(value, list) for value in data]
        if not any(nested):
            return data
        if not all(nested):
            raise InvalidRequest("data must be a flat or evenly nested list", name)
        data = [value for row in data for value in row]
    raise InvalidRequest(f"data must be lists within lists of at most {MAX_DIMENSIONS} levels", name)


def _strings(data: list[Any], name: str) -> list[str]:
    flat = _flatten(data, name)
    if not all(isinstance(value, str) for value in flat):
        raise InvalidRequest("data must be a list of strings", name)
    return flat


def from_binary(raw: memoryview | bytes, datatype: str, shape: tuple[int, ...], name: str) -> Array:
    """The array that ``raw`` holds in the protocol's binary form."""
    if datatype == "BYTES":
        return bytes_array(_split_bytes(bytes(raw), math.prod(shape), name), shape, name)
    dtype = np.dtype("<u2") if datatype == "BF16" else DTYPES[datatype]
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise InvalidRequest(f"{len(raw)} bytes of data do not fill the shape {list(shape)} of {datatype}", name)
    values = np.frombuffer(raw, dtype)
    if datatype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return _shaped(values, shape, name)


def bytes_array(elements: Sequence[bytes], shape: tuple[int, ...], name: str) -> Array:
    array = np.empty(len(elements), object)
    array[:] = elements
    return _shaped(array, shape, name)


def _shaped(values: Array, shape: tuple[int, ...], name: str) -> Array:
    check_count(values.size, shape, name)
    return values.reshape(shape)


def check_count(count: int, shape: tuple[int, ...], name: str) -> None:
    """Raises ``InvalidRequest`` unless ``count`` elements fill ``shape``; called before the elements are checked."""
    if count != math.prod(shape):
        raise InvalidRequest(f"{count} elements do not fill the shape {list(shape)}", name)


def _split_bytes(raw: bytes, most: int, name: str) -> list[bytes]:
    """The elements in ``raw``, at most one more than ``most``: the shape is wrong then, and the rest is not read."""
    elements: list[bytes] = []
    at = 0
    while at < len(raw) and len(elements) <= most:
        if at + 4 > len(raw):
            raise InvalidRequest("an element of BYTES data lacks its 4-byte length", name)
        (length,) = struct.unpack_from("<I", raw, at)
        at += 4
        if at + length > len(raw):
            raise InvalidRequest("an element of BYTES data is longer than the data", name)
        elements.append(raw[at : at + length])
        at += length
    return elements


def decode_base64(text: str | bytes, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("is not valid base64", name) from None


def _utf8(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("is not valid Unicode", name) from None


def datatype_of(array: Array) -> str:
    """The protocol's name for the type of ``array``."""
    if array.dtype.kind in "OSU":
        return "BYTES"
    for name, dtype in DTYPES.items():
        if array.dtype == dtype:
            return name
    raise EngineFailure(f"an output has the type {array.dtype}, which the protocol cannot carry")


def to_binary(array: Array) -> bytes:
    """``array`` in the protocol's binary form."""
    if datatype_of(array) != "BYTES":
        return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return b"".join(struct.pack("<I", len(element)) + element for element in _elements(array))


def _elements(array: Array) -> list[bytes]:
    return [value.encode() if isinstance(value, str) else bytes(value) for value in array.ravel().tolist()]


def to_json(name: str, array: Array) -> list[Any]:
    if datatype_of(array) == "BYTES":
        try:
            return [element.decode() for element in _elements(array)]
        except UnicodeDecodeError:
            raise InvalidRequest("holds bytes that JSON cannot carry; ask for binary data", name) from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidRequest("holds numbers that are not finite, which JSON cannot carry; ask for binary data", name)
    values: list[Any] = array.ravel().tolist()
    return values
