"""Engines of realistic weight with random weights, for benchmarks that must not wait for trained ones."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

BATCH = 32
CANDIDATES = 128


@dataclass(frozen=True)
class Synthetic:
    """An engine to write: its graph, its tensors (dims without the batch axis) and its cost."""

    name: str
    nodes: Sequence[Any]
    inputs: Mapping[str, tuple[str, Sequence[int]]]
    outputs: Mapping[str, tuple[str, Sequence[int]]]
    constants: Mapping[str, NDArray[Any]]
    mflops: float


def image_network(seed: int = 0) -> Synthetic:
    """A convolutional network on two 128 x 128 RGBA pictures, of the weight of ``image_features``."""
    random = np.random.default_rng(seed)
    widths = (8, 16, 32, 64, 128, 256)
    nodes = [
        helper.make_node("Concat", ["pixels", "detail"], ["both"], axis=3),
        helper.make_node("Cast", ["both"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["h0"]),
    ]
    constants: dict[str, NDArray[Any]] = {"scale": np.array(1 / 255, np.float32)}
    flops, side = 0.0, 128
    for layer, (before, after) in enumerate(itertools.pairwise(widths)):
        side //= 2
        flops += 2 * side * side * after * before * 9
        constants[f"w{layer}"] = _normal(random, (after, before, 3, 3), before * 9)
        constants[f"b{layer}"] = np.zeros(after, np.float32)
        inputs = [f"h{layer}", f"w{layer}", f"b{layer}"]
        nodes.append(helper.make_node("Conv", inputs, [f"c{layer}"], strides=[2, 2], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"h{layer + 1}"]))
    constants["project"] = _normal(random, (widths[-1], 512), widths[-1])
    nodes += [
        helper.make_node("ReduceMean", [f"h{len(widths) - 1}"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "project"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["embedding"]),
    ]
    pictures = {"pixels": ("TYPE_UINT8", (128, 128, 4)), "detail": ("TYPE_UINT8", (128, 128, 4))}
    return Synthetic("image_network", nodes, pictures, {"embedding": ("TYPE_FP32", (512,))}, constants, flops / 1e6)


def candidate_network(seed: int = 0) -> Synthetic:
    """A perceptron over an embedding and rows of parameters, of the weight of ``quality`` with 128 candidates."""
    random = np.random.default_rng(seed)
    constants: dict[str, NDArray[Any]] = {
        "we": _normal(random, (512, 256), 512),
        "wp": _normal(random, (10, 256), 10),
        "w1": _normal(random, (256, 256), 256),
        "w2": _normal(random, (256, 5), 256),
        "middle": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["embedding", "we"], ["e"]),
        helper.make_node("Unsqueeze", ["e", "middle"], ["e1"]),
        helper.make_node("MatMul", ["parameters", "wp"], ["p"]),
        helper.make_node("Add", ["e1", "p"], ["a0"]),
        helper.make_node("Relu", ["a0"], ["h0"]),
        helper.make_node("MatMul", ["h0", "w1"], ["a1"]),
        helper.make_node("Relu", ["a1"], ["h1"]),
        helper.make_node("MatMul", ["h1", "w2"], ["scores"]),
    ]
    inputs = {"embedding": ("TYPE_FP32", (512,)), "parameters": ("TYPE_FP32", (CANDIDATES, 10))}
    flops = 2 * (512 * 256 + CANDIDATES * (10 * 256 + 256 * 256 + 256 * 5))
    return Synthetic(
        "candidate_network", nodes, inputs, {"scores": ("TYPE_FP32", (CANDIDATES, 5))}, constants, flops / 1e6
    )


def write(engine: Synthetic, repository: Path, backend: str, instances: int = 1) -> str:
    """Write the engine for ``backend`` into ``repository``; its name there.

    Requests are merged up to 8 rows, what a CPU runs best: the activations of more leave its caches.
    """
    name = f"{engine.name}_{backend}"
    graph = helper.make_graph(
        list(engine.nodes),
        engine.name,
        [_info(tensor, *spec) for tensor, spec in engine.inputs.items()],
        [_info(tensor, *spec) for tensor, spec in engine.outputs.items()],
        [numpy_helper.from_array(array, key) for key, array in engine.constants.items()],
    )
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    blocks = [f'backend: "{backend}"', f"max_batch_size: {BATCH}", 'default_model_filename: "model.onnx"']
    for kind, tensors in (("input", engine.inputs), ("output", engine.outputs)):
        blocks += [f'{kind} {{ name: "{t}" data_type: {kind_} dims: {list(d)} }}' for t, (kind_, d) in tensors.items()]
    blocks += ["dynamic_batching { preferred_batch_size: [8] }"]
    blocks += [f"instance_group {{ count: {instances} kind: KIND_CPU }}"]
    (folder.parent / "config.pbtxt").write_text("\n".join(blocks) + "\n")
    return name


def _info(tensor: str, dtype: str, dims: Sequence[int]) -> Any:
    kind = TensorProto.UINT8 if dtype == "TYPE_UINT8" else TensorProto.FLOAT
    return helper.make_tensor_value_info(tensor, kind, ["N", *dims])


def _normal(random: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> NDArray[np.float32]:
    """He et al. 2015: variance 2 / fan-in keeps the signal's size through rectified layers."""
    weights: NDArray[np.float32] = (random.normal(size=shape) * np.sqrt(2 / fan_in)).astype(np.float32)
    return weights
