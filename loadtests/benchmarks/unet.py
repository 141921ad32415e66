"""``python -m loadtests.benchmarks.unet``: time of one denoising step over its batch size, on this machine's device.

UNets of the shapes of Stable Diffusion 1.5 and SDXL, by diffusers on torch, with random weights: speed does not depend
on what they have learned. Nothing is downloaded. With ``--out`` the curves are kept as JSON, which
``loadtests.simulate --curve`` reads. Needs ``pip install .[build]``; without a GPU only ``--shape tiny`` is of any use.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel

from loadtests.vectorize.table import markdown

TOKENS = 77
LATENT_SCALE = 8
"""Pixels per side of one latent."""
TIME_IDS, POOLED = 6, 1280
_FEWEST_RUNS = 3


@dataclass(frozen=True)
class Shape:
    """``config`` is of `UNet2DConditionModel`, from the published unet/config.json of the architecture."""

    name: str
    sides_px: tuple[int, ...]
    config: Mapping[str, Any]


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("tiny", (64,), {"block_out_channels": (32, 64), "layers_per_block": 1, "cross_attention_dim": 32,
            "attention_head_dim": 8, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}),
        Shape("sd15", (512, 768), {"sample_size": 64, "block_out_channels": (320, 640, 1280, 1280),
            "cross_attention_dim": 768, "attention_head_dim": 8}),
        Shape("sdxl", (512, 1024), {"sample_size": 128, "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10), "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048, "use_linear_projection": True, "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816}),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """``milliseconds`` by rows of a batch: the median of a step. With guidance a picture's step has two rows."""

    shape: str
    side_px: int
    device: str
    dtype: str
    milliseconds: Mapping[int, float]

    @property
    def gains(self) -> dict[int, float]:
        """Rows per second over those of the smallest batch."""
        fewest = min(self.milliseconds)
        one = self.milliseconds[fewest] / fewest
        return {rows: one / (ms / rows) for rows, ms in self.milliseconds.items()}


def measure(
    shape: Shape, side_px: int, batches: Sequence[int], device: str, dtype: torch.dtype, seconds: float
) -> Curve:
    """Batches that the device's memory does not hold are left out."""
    model = UNet2DConditionModel(**shape.config).to(device, dtype).eval()
    milliseconds: dict[int, float] = {}
    for rows in batches:
        try:
            milliseconds[rows] = _median_ms(model, _inputs(model, rows, side_px, device, dtype), device, seconds)
        except torch.cuda.OutOfMemoryError:
            break
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return Curve(shape.name, side_px, name, str(dtype).removeprefix("torch."), milliseconds)


def _inputs(model: UNet2DConditionModel, rows: int, side_px: int, device: str, dtype: torch.dtype) -> dict[str, Any]:
    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=device, dtype=dtype)

    side, config = side_px // LATENT_SCALE, model.config
    inputs: dict[str, Any] = {
        "sample": normal(rows, config.in_channels, side, side),
        "timestep": torch.linspace(1, 999, rows, device=device, dtype=dtype),
        "encoder_hidden_states": normal(rows, TOKENS, config.cross_attention_dim),
    }
    if config.addition_embed_type == "text_time":
        inputs["added_cond_kwargs"] = {"text_embeds": normal(rows, POOLED), "time_ids": normal(rows, TIME_IDS)}
    return inputs


@torch.inference_mode()
def _median_ms(model: UNet2DConditionModel, inputs: Mapping[str, Any], device: str, seconds: float) -> float:
    """Of as many steps as fit in ``seconds``, after two that do not count."""
    taken: list[float] = []
    for _ in range(2):
        model(**inputs)
    _wait(device)
    while len(taken) < _FEWEST_RUNS or sum(taken) < seconds:
        began = time.perf_counter()
        model(**inputs)
        _wait(device)
        taken.append(time.perf_counter() - began)
    return round(float(np.median(taken)) * 1e3, 3)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def table(curves: Sequence[Curve]) -> str:
    """Markdown: milliseconds and gain for each batch."""
    header = ["UNet", "side px", "rows", "ms", "rows/s", "gain"]
    lines = [
        [curve.shape, str(curve.side_px), str(rows), f"{ms:.1f}", f"{1e3 * rows / ms:.1f}", f"{curve.gains[rows]:.2f}"]
        for curve in curves
        for rows, ms in curve.milliseconds.items()
    ]
    return markdown(header, lines)


def plain(curve: Curve) -> dict[str, Any]:
    return {
        "shape": curve.shape, "side_px": curve.side_px, "device": curve.device, "dtype": curve.dtype,
        "milliseconds": {str(rows): ms for rows, ms in curve.milliseconds.items()},
    }  # fmt: skip


def main() -> None:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", choices=sorted(SHAPES), help="none: sd15 and sdxl on a GPU, else tiny")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32], help="rows of a batch")
    parser.add_argument(
        "--dtype", choices=("float16", "bfloat16", "float32"), default="float16" if on_gpu else "float32"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each batch is measured")
    parser.add_argument("--out", type=Path, help="a JSON file for the curves")
    arguments = parser.parse_args()
    device = "cuda" if on_gpu else "cpu"
    dtype = getattr(torch, arguments.dtype or ("float16" if on_gpu else "float32"))
    curves = []
    for name in arguments.shape or (["sd15", "sdxl"] if on_gpu else ["tiny"]):
        for side_px in SHAPES[name].sides_px:
            curves.append(measure(SHAPES[name], side_px, sorted(arguments.batch), device, dtype, arguments.seconds))
    print(f"{curves[0].device}, {curves[0].dtype}, torch {torch.__version__}\n\n{table(curves)}")
    if arguments.out:
        arguments.out.write_text(json.dumps([plain(curve) for curve in curves], indent=2) + "\n")


if __name__ == "__main__":
    main()
