"""The open inference protocol's binary form over HTTP (KServe v2), for peers that speak it by these few lines."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

Arrays = dict[str, NDArray[Any]]
HEADER_LENGTH = "Inference-Header-Content-Length"


def decode(body: bytes, header_length: int, part: str) -> Arrays:
    """``part``: "inputs" of a request, "outputs" of an answer."""
    header = json.loads(body[:header_length])
    found, start = {}, header_length
    for tensor in header[part]:
        size = tensor["parameters"]["binary_data_size"]
        dtype = triton_to_np_dtype(tensor["datatype"])
        found[tensor["name"]] = np.frombuffer(body[start : start + size], dtype).reshape(tensor["shape"])
        start += size
    return found


def encode(arrays: Arrays, part: str, **more: Any) -> tuple[bytes, int]:
    """The body, and the length of its header."""
    data = [np.ascontiguousarray(array).tobytes() for array in arrays.values()]
    tensors = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": np_to_triton_dtype(array.dtype),
            "parameters": {"binary_data_size": len(raw)},
        }
        for (name, array), raw in zip(arrays.items(), data, strict=True)
    ]
    header = json.dumps({part: tensors, **more}).encode()
    return b"".join([header, *data]), len(header)


def request(arrays: Arrays, **more: Any) -> tuple[bytes, int]:
    """Asks for every output in binary form."""
    return encode(arrays, "inputs", parameters={"binary_data_output": True}, **more)
