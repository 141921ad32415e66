"""Reads the convolutions of a VGG-class checkpoint: safetensors as `torchvision` and `timm` name them
(`features.N.weight`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from build_engines.illustrate.refusal import Refused

_WEIGHT = re.compile(r"^features\.(\d+)\.weight$")
MAX_BLOCKS = 5


@dataclass(frozen=True)
class Convolution:
    """``weight`` (out, in, 3, 3), ``bias`` (out,). ``pooled``: whether 2 x 2 pixels become one before it."""

    weight: torch.Tensor
    bias: torch.Tensor
    pooled: bool


def read(source: Path) -> list[Convolution]:
    """Of a file, or of the one safetensors file in a folder. Raises Refused with the reason for anything else.

    A convolution is followed by a ReLU, and a pooling layer lies where a number is left out: 0, 2, 5 are two
    convolutions, a pooling layer, a convolution.
    """
    path = source
    if source.is_dir():
        files = sorted(source.glob("*.safetensors"))
        if len(files) != 1:
            raise Refused(f"{source.name} has {len(files)} .safetensors; one is needed (no pickle is opened)")
        path = files[0]
    try:
        tensors = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise Refused(f"{path.name} is no safetensors file: {error}") from error
    if any(name.startswith("features.") and name.endswith("running_mean") for name in tensors):
        raise Refused("it has batch normalisation; take the same network without it (vgg19, not vgg19_bn)")
    numbers = sorted(int(found[1]) for name in tensors if (found := _WEIGHT.match(name)))
    if not numbers or numbers[0] != 0:
        raise Refused("it has no features.0.weight: it is no VGG of torchvision or timm")
    layers, before, width = [], -2, 3
    for number in numbers:
        weight, bias = tensors[f"features.{number}.weight"], tensors.get(f"features.{number}.bias")
        gap = number - before
        if weight.ndim != 4 or tuple(weight.shape[1:]) != (width, 3, 3) or bias is None or gap not in (2, 3):
            raise Refused(f"features.{number} does not continue a VGG: 3 x 3 convolutions of {width} channels, biased")
        width = int(weight.shape[0])
        if tuple(bias.shape) != (width,):
            raise Refused(f"features.{number}.bias does not fit its weight")
        layers.append(Convolution(weight.float(), bias.float(), gap == 3))
        before = number
    if sum(layer.pooled for layer in layers) >= MAX_BLOCKS:
        raise Refused(f"it has more than {MAX_BLOCKS} blocks")
    return layers
