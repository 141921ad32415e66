"""gRPC messages of the open inference protocol that are inconsistent, damaged or invalid."""

from __future__ import annotations

import struct
from typing import Any

from odd_requests import TYPES
from odd_values import LOGO, TEXTS, Draw, damaged
from tritonclient.grpc import service_pb2 as pb

METHODS = [
    one.name for one in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods if not one.client_streaming
]
_NAMES = (
    "x",
    "image",
    "prompt",
    "seed",
    "",
    "x" * 3000,
    "x\0y",
    "a\nb",
    *(text for text in TEXTS if text.isprintable()),
)
_SIZES = (0, 1, 4, -1, 2**31, 2**62, 2**63 - 1, -(2**63), 100_000)


def call(draw: Draw) -> tuple[str, bytes]:
    """The name of a method and the bytes of its request."""
    method = draw.choice(METHODS) if draw.random() < 0.4 else "ModelInfer"
    if draw.random() < 0.15:
        return method, draw.randbytes(draw.randrange(500))
    if method == "ModelInfer":
        return method, message(draw)
    request = getattr(pb, f"{method}Request")()
    for field in request.DESCRIPTOR.fields:
        if field.type == field.TYPE_STRING and not field.is_repeated and draw.random() < 0.8:
            setattr(request, field.name, _text(draw, ["plus_one", "vectorize", "illustrate", "1"]))
    return method, _maybe_damaged(draw, request)


def message(draw: Draw) -> bytes:
    """The bytes of an inference request."""
    request = pb.ModelInferRequest(model_name=_text(draw, ["plus_one", "vectorize", "illustrate"] * 4))
    request.id, request.model_version = draw.choice(["", "1", "i" * 3000]), draw.choice(["", "", "1", "9", "-1", "x"])
    for _ in range(draw.choice([0, 1, 1, 1, 1, 2, 40])):
        tensor = request.inputs.add(name=_text(draw, ["x", "image", "prompt"] * 10), datatype=str(draw.choice(TYPES)))
        tensor.shape.extend(
            draw.choice([[1, 4], [1], [draw.choice(_SIZES) for _ in range(draw.randrange(5))], [1] * 70])
        )
        if draw.random() < 0.4:
            _fill(draw, tensor.contents)
    for _ in range(draw.choice([0, 1, 1, 2, len(request.inputs), len(request.inputs) + 1])):
        request.raw_input_contents.append(_raw(draw))
    for _ in range(draw.choice([0, 0, 1, 3])):
        request.outputs.add(name=_text(draw, ["y", "svg", "images"]))
    for _ in range(draw.choice([0, 0, 1, 3])):
        _set(draw, request.parameters[_text(draw, ["tier", "timeout", "seed", "preview_every", "binary_data"])])
    return _maybe_damaged(draw, request)


def _maybe_damaged(draw: Draw, request: Any) -> bytes:
    raw: bytes = request.SerializeToString()
    return damaged(draw, raw) if draw.random() < 0.15 else raw


def _text(draw: Draw, known: list[str]) -> str:
    return draw.choice([*known * 3, *_NAMES])


def _raw(draw: Draw) -> bytes:
    """Tensors of 4 numbers, of one text, too short or too long; BYTES with a wrong length."""
    length = draw.choice([len(LOGO), 0, 2**32 - 1, 7])
    odd = struct.pack("<4f", 1, float("nan"), float("inf"), 0), struct.pack("<I", length) + LOGO, damaged(draw, LOGO)
    return draw.choice([bytes(16), bytes(15), b"", bytes(400), struct.pack("<I", 5) + b"a fox", b"\xff" * 16, *odd])


def _fill(draw: Draw, contents: Any) -> None:
    kind = draw.choice(["fp32_contents", "bytes_contents", "int_contents", "uint64_contents", "bool_contents"])
    values: dict[str, list[Any]] = {"bytes_contents": [LOGO, b"a fox", b"\xff\xfe", b""]}
    getattr(contents, kind).extend(
        [draw.choice(values.get(kind, [0, 1])) for _ in range(draw.choice([0, 1, 4, 5, 1000]))]
    )


def _set(draw: Draw, parameter: Any) -> None:
    kind = draw.choice(["bool_param", "int64_param", "string_param", "double_param"])
    values: dict[str, list[Any]] = {
        "bool_param": [True, False],
        "int64_param": [0, -1, 2**63 - 1, 7],
        "string_param": ["", "1", "auto", "x" * 2000],
        "double_param": [float("nan"), float("inf"), -1.0, 1e308],
    }
    setattr(parameter, kind, draw.choice(values[kind]))
