"""Weights read back out of the engines that ship, so that training can go on without its own folder.

Engines hold their weights in 8 bits or float16 (``build_engines.illustrate.precision``); training mends the rounding
within its first steps. The optimiser's state is not in them. The exporter stores equal parameters once: those of a
network that was never trained (zeros) cannot be read back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from transformers import CLIPTextModel

from build_engines.mini.training.denoisers import Hybrid
from build_engines.mini.training.flow import ConditionedDenoiser
from build_engines.mini.training.networks import RgbaAutoencoder
from build_engines.mini.training.text import WordEmbedding

Arrays = dict[str, npt.NDArray[Any]]
_RESTORING = {"Cast", "Mul"}
"""Nodes between a stored weight and its use."""


def read(path: Path) -> Arrays:
    """The float32 weights of an engine's ``model.onnx`` by the names of its network's parameters.

    A matrix product's weight has lost its name in the export; it is that of the bias which is added to it.
    """
    graph = onnx.load(str(path)).graph
    values = _restored(graph)
    found = {name: value for name, value in values.items() if not name.startswith("onnx::")}
    adds = {name: node for node in graph.node if node.op_type == "Add" for name in node.input}
    for node in graph.node:
        if node.op_type != "MatMul" or node.input[1] not in values or node.output[0] not in adds:
            continue
        bias = [name for name in adds[node.output[0]].input if name in values]
        if bias and bias[0].endswith(".bias"):
            found[f"{bias[0].removesuffix('.bias')}.weight"] = values[node.input[1]].T
    return found


def _restored(graph: onnx.GraphProto) -> Arrays:
    """Initialisers, and what ``precision.store`` makes of the stored ones when the engine runs, in float32."""
    values: Arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in _RESTORING and all(name in values for name in node.input):
            parts = [values[name].astype(np.float32) for name in node.input]
            values[node.output[0]] = parts[0] * parts[1] if node.op_type == "Mul" else parts[0]
    return values


def load_into(network: nn.Module, path: Path, prefix: str) -> None:
    """Sets the parameters of ``network`` that the engine has under ``prefix``. Raises KeyError if it lacks one."""
    stored = read(path)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            value = torch.from_numpy(np.array(stored[f"{prefix}.{name}"], np.float32))
            parameter.copy_(value.reshape(parameter.shape))


def load_autoencoder(model: RgbaAutoencoder, repository: Path, family: str) -> None:
    """Sets encoder and decoder from the family's engines; the scale is not in them."""
    for part in ("encoder", "decoder"):
        load_into(getattr(model, part), _model(repository, f"{family}_vae_{part}"), f"vae.{part}")


def load_denoiser(model: ConditionedDenoiser, repository: Path, family: str) -> None:
    """Sets a hybrid denoiser and its text encoder from the family's engines."""
    if not isinstance(model.denoiser, Hybrid):
        raise TypeError("only a hybrid denoiser can be read from engines")
    load_into(model.denoiser.network, _model(repository, f"{family}_unet"), "unet")
    load_text_encoder(model.text_encoder, _model(repository, f"{family}_text_encoder"))


def _model(repository: Path, engine: str) -> Path:
    return repository / engine / "1" / "model.onnx"


def load_text_encoder(model: CLIPTextModel, path: Path) -> None:
    """Sets a text encoder with ``WordEmbedding`` from an engine, whose table has no vectors in it.

    The table is fitted linearly from the word vectors; what is left of a caption's word is its residual.
    """
    stored = read(path)
    words = model.embeddings.token_embedding
    assert isinstance(words, WordEmbedding)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("embeddings.token_embedding."):
                value = torch.from_numpy(np.array(stored[f"encoder.{name}"], np.float32))
                parameter.copy_(value.reshape(parameter.shape))
        table = torch.from_numpy(np.array(stored["encoder.embeddings.token_embedding.weight"], np.float32))
        _fit(words, table)


def _fit(words: WordEmbedding, table: torch.Tensor) -> None:
    known = words.vectors.abs().sum(1) > 0
    described = torch.cat([words.vectors[known], torch.ones(int(known.sum()), 1)], 1)
    solution = torch.linalg.lstsq(described, table[known]).solution
    words.direct.weight.copy_(solution[:-1].T)
    words.direct.bias.copy_(solution[-1])
    last = words.hidden[-1]
    assert isinstance(last, nn.Linear)
    last.weight.zero_()
    last.bias.zero_()
    own = words.residual.num_embeddings - 1
    words.residual.weight.zero_()
    words.residual.weight[:own] = table[:own] - words.direct(words.vectors[:own])
