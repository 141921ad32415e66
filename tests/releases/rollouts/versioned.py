"""A model repository with several versions of one small engine: fit ones, and one for each reason to be unfit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ENGINE = "times"
CONFIG = """
backend: "onnxruntime"
max_batch_size: 8
default_model_filename: "model.onnx"
input { name: "x" data_type: TYPE_FP32 dims: [4] }
output { name: "y" data_type: TYPE_FP32 dims: [4] }
instance_group { count: 1 kind: KIND_CPU }
dynamic_batching { }
"""
GOOD, BAD_PARITY, CORRUPT, UNLOADABLE, NAMELESS, NAMESAKE, NOT_A_NUMBER = "2", "3", "4", "5", "6", "7", "8"
REASONS = {
    BAD_PARITY: "its max_abs_error is 0.5, and its limit 0.03",
    CORRUPT: "the checksum of model.onnx is not the manifest's",
    UNLOADABLE: "does not load",
    NAMELESS: "has no manifest.json",
    NAMESAKE: "calls itself '1.0' in its manifest, and so does 1",
    NOT_A_NUMBER: "numbers that are not finite",
    "9": "is not in the model repository",
}


def model(factor: float) -> bytes:
    """y = factor * x, x (N, 4)."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "y")]
    constant = numpy_helper.from_array(np.full(4, factor, np.float32), "w")
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    if np.isnan(factor):
        node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], ENGINE, tensors[:1], tensors[1:], [constant])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found: bytes = made.SerializeToString()
    onnx.checker.check_model(made)
    return found


def write_version(
    repository: Path, version: str, data: bytes, *, engine: str = ENGINE, label: str | None = None, **changes: Any
) -> None:
    """``changes`` override fields of the manifest, which is valid otherwise."""
    folder = repository / engine / version
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(data)
    manifest = {
        "name": engine,
        "version": label or f"{version}.0",
        "sha256": hashlib.sha256(data).hexdigest(),
        "parity": {"max_abs_error": 1e-6, "limit": 0.03},
        **changes,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def write_engine(repository: Path, engine: str = ENGINE) -> Path:
    """Version 1, with its manifest where builds write it."""
    write_version(repository, "1", model(1.0), engine=engine)
    folder = repository / engine
    (folder / "1" / "manifest.json").rename(folder / "manifest.json")
    (folder / "config.pbtxt").write_text(CONFIG)
    return repository


def write_all(repository: Path) -> Path:
    """Version ``n`` multiplies by n, if it is fit."""
    write_engine(repository)
    write_version(repository, GOOD, model(2.0))
    write_version(repository, BAD_PARITY, model(3.0), parity={"max_abs_error": 0.5, "limit": 0.03})
    write_version(repository, CORRUPT, model(4.0), sha256="0" * 64)
    write_version(repository, UNLOADABLE, b"no network")
    write_version(repository, NAMELESS, model(6.0))
    (repository / ENGINE / NAMELESS / "manifest.json").unlink()
    write_version(repository, NAMESAKE, model(7.0), label="1.0")
    write_version(repository, NOT_A_NUMBER, model(float("nan")))
    return repository
