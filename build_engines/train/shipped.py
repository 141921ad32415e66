"""The networks of engines that are in a model repository, for training that goes on from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from build_engines.data import draw
from build_engines.export.contracts import CONTRACTS
from build_engines.export.parity import torch_answers
from build_engines.export.runtimes import open_onnxruntime
from build_engines.labels.collect import Drawn
from build_engines.train.networks import Quality
from serve.errors import Conflict
from serve.vector.features import network_input

Array = npt.NDArray[np.float32]
_SAME = 1e-4
"""Largest difference between the answers of the network and of its file."""


def quality_of(path: Path) -> Quality:
    """The network that was exported to the ONNX file ``path``. Raises Conflict for another one."""
    graph = onnx.load(str(path)).graph
    known = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    network = Quality().eval()
    state = {}
    try:
        for name, value in network.state_dict().items():
            found = known[name] if name in known else _folded(graph, known, name)
            state[name] = torch.from_numpy(found.reshape(value.shape).copy())
    except (KeyError, ValueError, StopIteration) as error:
        raise Conflict(f"{path} is not a network of this software's `quality`") from error
    network.load_state_dict(state)
    _check(network, path)
    return network


def _folded(graph: onnx.GraphProto, known: dict[str, Array], name: str) -> Array:
    """The weight of a linear layer over three axes: the matrix, transposed, whose product its bias is added to."""
    bias = name.removesuffix("weight") + "bias"
    added = next(node for node in graph.node if node.op_type == "Add" and bias in node.input)
    product = next(node for node in graph.node if node.op_type == "MatMul" and node.output[0] in added.input)
    return known[product.input[1]].T


def _check(network: nn.Module, path: Path) -> None:
    contract = CONTRACTS["quality"]
    inputs = contract.example(3)
    answers = open_onnxruntime(path, contract)(inputs)
    for tensor, expected in zip(contract.outputs, torch_answers(network, contract, inputs), strict=True):
        if not np.abs(answers[tensor.name] - expected).max() < _SAME:
            raise Conflict(f"{path} answers otherwise than the network with its weights")


def embed_drawn(pictures: list[Drawn], path: Path) -> Tensor:
    """(N, 512): ``pictures`` as the `image_features` of the ONNX file ``path`` embeds them."""
    run = open_onnxruntime(path, CONTRACTS["image_features"])
    rows = []
    for picture in pictures:
        inputs = network_input(draw(picture.icon, picture.seed).rgba)
        answer = run({name: inputs[name][None] for name in ("pixels", "detail", "statistics")})
        rows.append(np.asarray(answer["embedding"][0], np.float32))
    return torch.from_numpy(np.stack(rows))
