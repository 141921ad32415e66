"""Writes the engines NAME_describe and NAME_gradient of a VGG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from build_engines.export.config import Backend
from build_engines.export.contracts import Contract, Tensor
from build_engines.export.runtimes import Arrays
from build_engines.illustrate.precision import Precision
from build_engines.upscale.engine import place, stage
from build_engines.vgg.network import Describe, Features, Gradient

MAX_BATCH = 2
MAX_SIDE_PX = 512
"""Longest side of pictures that are optimised; larger ones are scaled down."""
GRADIENT_RUNTIMES: tuple[Backend, ...] = ("onnxruntime",)
"""OpenVINO's answers are not the network's: its gradient of style was off by half of its size, where ONNX Runtime's was
equal to rounding."""
_AXES, _FEATURE_AXES = ("height_px", "width_px"), ("rows", "columns")


def write_engines(
    features: Features, name: str, facts: dict[str, Any], repository: Path, version: str, precision: Precision
) -> list[Path]:
    """Both folders, placed when both agree with torch. Raises ParityError."""
    features = features.eval()
    image = Tensor("image", (-1, -1, 3), axes=_AXES)
    grams = Tensor("grams", (sum(one**2 for one in features.channels),))
    warmup = dict.fromkeys(_AXES, features.step_px)
    down = _down(features)
    content = Tensor("content", (int(features.weights[features.content].shape[0]), -1, -1), axes=_FEATURE_AXES)
    warmup |= dict.fromkeys(_FEATURE_AXES, features.step_px // down)
    described = Contract(f"{name}_describe", (image,), (grams, content), MAX_BATCH, (), threads=0, warmup=warmup)
    sloped = Contract(
        f"{name}_gradient", (image, grams, content, Tensor("weights", (2,))),
        (Tensor("gradient", (-1, -1, 3), axes=_AXES), Tensor("losses", (2,))), MAX_BATCH, (), threads=0, warmup=warmup,
    )  # fmt: skip
    stated = {
        **facts, "class": "vgg", "precision": precision,
        "optimisation": {"step_px": features.step_px, "max_side_px": MAX_SIDE_PX},
    }  # fmt: skip
    describe, gradient = Describe(features).eval(), Gradient(features).eval()
    first = _examples(describe, features.step_px)
    second = {label: _sloped(gradient, describe, inputs) for label, inputs in first.items()}
    folders = [
        stage(described, describe, first, ("wide", "one"), stated, repository, version, precision=precision),
        stage(
            sloped,
            gradient,
            second,
            ("wide", "one"),
            stated,
            repository,
            version,
            precision=precision,
            runtimes=GRADIENT_RUNTIMES,
        ),
    ]
    names = (described.name, sloped.name)
    return [place(folder, repository / engine) for folder, engine in zip(folders, names, strict=True)]


def _down(features: Features) -> int:
    """How many pixels a side are one of the content features."""
    return int(2 ** sum(features.pooled[: features.content + 1]))


def _examples(describe: Describe, step: int) -> dict[str, Arrays]:
    rng = np.random.default_rng(0)
    shapes = {"wide": (2, 3 * step, 5 * step), "one": (1, 4 * step, 4 * step)}
    return {label: {"image": (255 * rng.random((*shape, 3))).astype(np.float32)} for label, shape in shapes.items()}


def _sloped(gradient: Gradient, describe: Describe, inputs: Arrays) -> Arrays:
    """As at a step of the optimisation: another picture's Gram matrices and features, and weights by which both losses
    are 1."""
    rng = np.random.default_rng(1)
    other = torch.from_numpy((255 * rng.random(inputs["image"].shape)).astype(np.float32))
    with torch.no_grad():
        grams, content = describe(other)
        image, ones = torch.from_numpy(inputs["image"]), torch.ones(len(grams), 2)
        weights = 1 / gradient(image, grams, content, ones)[1]
    return {**inputs, "grams": grams.numpy(), "content": content.numpy(), "weights": weights.numpy()}
