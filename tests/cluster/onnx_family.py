"""The toy family of `drawn_family` as ONNX engines: for a Triton, where `drawn_family` has functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from tests.engines.tiny_onnx import write_engine
from tests.ensembles.drawn_family import CHANNELS, CHUNK, WIDTH, write_family

BACKEND = "onnxruntime"
_LATENTS = ("TYPE_FP32", [CHANNELS, "height", "width"])
_BATCHING = "dynamic_batching { }"


def write_onnx_family(repository: Path) -> Path:
    """Its pictures equal those of the functions, up to rounding."""
    _text_encoder(repository)
    _unet(repository)
    _vae_decoder(repository)
    _vae_encoder(repository)
    return write_family(repository)


def _text_encoder(repository: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "last"], ["column"]),
        helper.make_node("Mul", ["column", "places"], ["angles"]),
        helper.make_node("Sin", ["angles"], ["prompt_embeds"]),
    ]
    constants = {"last": np.array([2]), "places": np.arange(1, WIDTH + 1, dtype=np.float32)}
    inputs, outputs = {"input_ids": ("TYPE_INT32", [CHUNK])}, {"prompt_embeds": ("TYPE_FP32", [CHUNK, WIDTH])}
    write_engine(repository, "toy_text_encoder", BACKEND, nodes, inputs, outputs, constants, extra=_BATCHING)


def _unet(repository: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["encoder_hidden_states"], ["told"], axes=[2], keepdims=0),
        helper.make_node("ReduceMean", ["told"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Div", ["timestep", "thousand"], ["time"]),
        helper.make_node("Add", ["mean", "time"], ["shift"]),
        helper.make_node("Unsqueeze", ["shift", "plane"], ["shifts"]),
        helper.make_node("Mul", ["sample", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shifts"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["noise_pred"]),
    ]
    constants = {"thousand": np.float32(1000), "scale": np.float32(0.8), "plane": np.array([2, 3])}
    inputs = {
        "sample": _LATENTS,
        "timestep": ("TYPE_FP32", [1]),
        "encoder_hidden_states": ("TYPE_FP32", ["tokens", WIDTH]),
    }
    arrays = {name: np.asarray(value) for name, value in constants.items()}
    write_engine(repository, "toy_unet", BACKEND, nodes, inputs, {"noise_pred": _LATENTS}, arrays, extra=_BATCHING)


def _vae_decoder(repository: Path) -> None:
    nodes = [
        helper.make_node("Tanh", ["latents"], ["bounded"]),
        helper.make_node("Add", ["bounded", "one"], ["positive"]),
        helper.make_node("Mul", ["positive", "half"], ["grey"]),
        helper.make_node("Round", ["grey"], ["rounded"]),
        helper.make_node("Resize", ["rounded", "", "scales"], ["large"], mode="nearest"),
        helper.make_node("Transpose", ["large"], ["pixels"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["pixels"], ["image"], to=TensorProto.UINT8),
    ]
    constants = {"one": np.float32(1), "half": np.float32(127.5), "scales": np.array([1, 1, 8, 8], np.float32)}
    arrays = {name: np.asarray(value) for name, value in constants.items()}
    outputs = {"image": ("TYPE_UINT8", ["rows", "columns", CHANNELS])}
    write_engine(repository, "toy_vae_decoder", BACKEND, nodes, {"latents": _LATENTS}, outputs, arrays, extra=_BATCHING)


def _vae_encoder(repository: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["blocks"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Div", ["blocks", "half"], ["positive"]),
        helper.make_node("Sub", ["positive", "one"], ["bounded"]),
        helper.make_node("Clip", ["bounded", "least", "most"], ["clipped"]),
        helper.make_node("Atanh", ["clipped"], ["mean"]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "deviation"], ["std"]),
    ]
    constants = {"half": 127.5, "one": 1, "least": -0.99, "most": 0.99, "zero": 0, "deviation": 0.01}
    arrays = {name: np.asarray(value, np.float32) for name, value in constants.items()}
    inputs, outputs = {"image": ("TYPE_UINT8", ["rows", "columns", CHANNELS])}, {"mean": _LATENTS, "std": _LATENTS}
    write_engine(repository, "toy_vae_encoder", BACKEND, nodes, inputs, outputs, arrays, extra=_BATCHING)
