"""Weights that an engine's second network has in common with its first are not stored twice.

ONNX lets a weight name a file, an offset and a length in place of its bytes, and the bytes of a weight lie together in
the file of any model, so ``adapted.onnx`` and a ControlNet name those of ``model.onnx`` beside them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx

SMALLEST = 1024
"""Bytes of a weight that is worth it."""


def locate_weights(path: Path) -> dict[str, int]:
    """Where the bytes of each weight of a model begin in its file, by their digest. Empty for one whose weights lie in
    a file of their own."""
    content = path.read_bytes()
    found: dict[str, int] = {}
    start = 0
    for tensor in onnx.load(str(path), load_external_data=False).graph.initializer:
        if len(tensor.raw_data) < SMALLEST:
            continue
        start = content.find(tensor.raw_data, start)  # initializers lie in their order
        found[_digest(tensor.raw_data)] = start
    return found


def share_weights(model: onnx.ModelProto, first: Path) -> int:
    """Makes ``model``, to be saved beside ``first``, name the weights that it has in common with it. How many bytes."""
    located, shared = locate_weights(first), 0
    for tensor in model.graph.initializer:
        offset = located.get(_digest(tensor.raw_data)) if len(tensor.raw_data) >= SMALLEST else None
        if offset is None:
            continue
        shared += len(tensor.raw_data)
        entries = {"location": first.name, "offset": str(offset), "length": str(len(tensor.raw_data))}
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)
    return shared


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
