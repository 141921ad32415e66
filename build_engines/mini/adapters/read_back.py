"""The starter family's checkpoint, read back out of its engines: what training of adapters begins from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from diffusers.models.attention_processor import AttnProcessor
from onnx import numpy_helper
from tokenizers import Tokenizer
from torch import nn

from build_engines.mini import checkpoint
from build_engines.mini.drawing import Painter
from build_engines.mini.flow import Denoiser
from build_engines.mini.networks import make_autoencoder, make_text_encoder, make_unet
from build_engines.mini.presets import CPU
from serve.diffusion.family import manifest_of

NAME = "mini"
Arrays = dict[str, npt.NDArray[Any]]


def weights_of(path: Path) -> Arrays:
    """The weights of an engine by their names in the network, as they are computed with.

    Exporting folds a matrix's transposition into it, and then names it after its place in the graph; the node that
    multiplies by it is named after its module.
    """
    graph = onnx.load(str(path)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found: Arrays = {}
    for name, array in stored.items():
        base, _, kind = name.rpartition("_")
        if kind == "int8":
            found[base] = array.astype(np.float32) * stored[f"{base}_scale"]
        elif kind == "fp16":
            found[base] = array.astype(np.float32)
        elif kind != "scale":
            found[name] = array
    named = {name: array for name, array in found.items() if not name.startswith("onnx::")}
    for name, array in _by_module(graph, found):
        named[name] = array
    return named


def _by_module(graph: onnx.GraphProto, found: Arrays) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Weights that are named after their place in the graph, by the module of the node that uses them."""
    kinds = {"MatMul": "weight", "Mul": "weight", "Add": "bias"}
    for node in graph.node:
        module = node.name.strip("/").rpartition("/")[0].replace("/", ".")
        for name in node.input:
            if name.startswith("onnx::") and name in found and node.op_type in kinds:
                array = found[name]
                matrix = node.op_type == "MatMul"
                yield f"{module}.{kinds[node.op_type]}", array.T if matrix else array.reshape(-1)


def _fill(network: nn.Module, weights: Arrays, prefix: str) -> None:
    """Raises ValueError for a network with other weights than the engine's."""
    own = network.state_dict()
    given = {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}
    state = {}
    for name, tensor in own.items():
        array = given.get(name)
        if array is None or array.size != tensor.numel():
            if name.endswith("position_ids"):
                state[name] = tensor
                continue
            raise ValueError(f"the engine has no weights {name} of the shape {tuple(tensor.shape)}")
        state[name] = torch.from_numpy(np.array(array, np.float32)).reshape(tensor.shape)
    network.load_state_dict(state)


def read_painter(repository: Path) -> Painter:
    """What draws, with the weights of the engines in ``repository``. Raises ValueError, FileNotFoundError."""

    def weights(part: str) -> Arrays:
        return weights_of(repository / f"{NAME}_{part}" / "1" / "model.onnx")

    tokenizer = Tokenizer.from_file(str(repository / f"{NAME}_text_encoder" / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    unet = make_unet(CPU.flow, CPU.autoencoder.channels)
    _fill(unet, weights("unet"), "unet.")
    text_encoder = make_text_encoder(CPU.flow, tokenizer.get_vocab_size())
    _fill(text_encoder, weights("text_encoder"), "encoder.")
    autoencoder = make_autoencoder(CPU.autoencoder)
    _fill(autoencoder.encoder, weights("vae_encoder"), "vae.encoder.")
    _fill(autoencoder.decoder, weights("vae_decoder"), "vae.decoder.")
    unet.set_attn_processor(AttnProcessor())
    return Painter(Denoiser(text_encoder, unet).eval(), autoencoder.eval(), tokenizer, _scale(repository))


def _scale(repository: Path) -> float:
    """The autoencoder's scaling factor: the number by which the decoder's engine divides."""
    graph = onnx.load(str(repository / f"{NAME}_vae_decoder" / "1" / "model.onnx")).graph
    constants = {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    constants |= {tensor.name: tensor for tensor in graph.initializer}
    first = next(node for node in graph.node if "latents" in node.input)
    other = next(name for name in first.input if name != "latents")
    return float(np.asarray(numpy_helper.to_array(constants[other])).reshape(-1)[0])


def read_back(repository: Path, folder: Path) -> None:
    """Writes the checkpoint to ``folder`` as `build_engines.mini.checkpoint` does."""
    painter = read_painter(repository)
    origin = json.loads(manifest_of(repository, NAME).read_text()).get("origin") or {}
    checkpoint.save(painter, folder, origin)
