"""An untrusted safetensors file: sizes, types and offsets of its header are checked against the bytes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.errors import InvalidRequest, TooLarge

FIELD = "file"
MAX_BYTES = 512 * 1024 * 1024
MAX_TENSORS = 20_000
MAX_DIMENSIONS = 8
_MAX_SIZE = 2**40
_MAX_HEADER_BYTES = 8 * 1024 * 1024
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor of a file; its values are read by `array`."""

    kind: str
    shape: tuple[int, ...]
    data: memoryview

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def array(self) -> npt.NDArray[Any]:
        """BF16 becomes float32."""
        values = np.frombuffer(self.data, _TYPES[self.kind])
        if self.kind == "BF16":
            values = (values.astype("<u4") << 16).view("<f4")
        return values.reshape(self.shape)


def refused(message: str) -> InvalidRequest:
    return InvalidRequest(message, FIELD)


def read_safetensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors by name, metadata). Raises InvalidRequest naming ``file``, TooLarge."""
    if len(data) > MAX_BYTES:
        raise TooLarge(f"has {len(data)} bytes; at most {MAX_BYTES} are allowed", FIELD)
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(_MAX_HEADER_BYTES, len(data) - 8) or data[8:9] != b"{":
        raise refused("is not a safetensors file")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        raise refused("is not a safetensors file: its header is not JSON") from None
    metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else {}
    if not isinstance(header, dict) or not isinstance(metadata, dict) or len(header) > MAX_TENSORS:
        raise refused(f"is not a safetensors file of up to {MAX_TENSORS} tensors")
    body = memoryview(data)[8 + length :]
    spans = {name: _span(name, entry) for name, entry in header.items()}
    end = 0
    for name, (_, _, start, stop) in sorted(spans.items(), key=lambda item: item[1][2:]):
        if start != end or stop > len(body):
            raise refused(
                f"is damaged: {name[:128]!a} does not follow the tensor before it, or reaches beyond the file"
            )
        end = stop
    if end != len(body):
        raise refused("is damaged: its tensors do not fill it")
    tensors = {name: Tensor(kind, shape, body[start:stop]) for name, (kind, shape, start, stop) in spans.items()}
    return tensors, {str(name): str(value) for name, value in metadata.items()}


def _span(name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """(type, shape, start and stop in the body) of a header's entry. Raises InvalidRequest."""
    try:
        kind, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise refused(f"has an invalid entry for {name[:128]!a}") from None
    if not isinstance(kind, str) or kind not in _TYPES:
        raise refused(f"has {name[:128]!a} of the type {str(kind)[:16]!a}; read are {', '.join(_TYPES)}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(map(_is_size, (*shape, start, stop))):
        raise refused(f"has {name[:128]!a} with a shape or offsets that are not sizes")
    if stop - start != math.prod(shape) * np.dtype(_TYPES[kind]).itemsize:
        raise refused(f"is damaged: {name[:128]!a} has another number of bytes than its shape")
    return kind, tuple(shape), start, stop


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_SIZE
