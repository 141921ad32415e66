"""Writes the engines ``style_encoder`` and ``style_painter``: ONNX, configuration, parity, manifest."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from build_engines.data.icons import ICON_SETS, VAR
from build_engines.export.contracts import Contract, Tensor
from build_engines.export.runtimes import Arrays
from build_engines.style.network import REACH_PX, STATISTICS, STEP, ServedEncoder, ServedPainter, StyleNetwork
from build_engines.style.training import Report
from build_engines.upscale.engine import place, stage
from serve.vector.textures import FIELDS, window

WEIGHTS = VAR / "style" / "network.safetensors"
TILE_PX = 512
MAX_BATCH = 4
_AXES = ("height_px", "width_px")
_WARMUP = {"height_px": 64, "width_px": 64}
_IMAGE = Tensor("image", (-1, -1, 3), "TYPE_UINT8", _AXES)

ENCODER = Contract(
    "style_encoder", (_IMAGE,), (Tensor("statistics", (STATISTICS,)),), MAX_BATCH, (), threads=0, warmup=_WARMUP
)
PAINTER = Contract(
    "style_painter",
    (
        _IMAGE,
        Tensor("content", (STATISTICS,)),
        Tensor("style", (STATISTICS,)),
        Tensor("textures", (-1, -1, FIELDS), axes=_AXES),
    ),
    (Tensor("painted", (-1, -1, 3), "TYPE_UINT8", _AXES),),
    MAX_BATCH,
    (),
    threads=0,
    warmup=_WARMUP,
)


def save_weights(network: StyleNetwork) -> Path:
    WEIGHTS.parent.mkdir(parents=True, exist_ok=True)
    partial_file = WEIGHTS.with_suffix(".partial")
    save_file(network.state_dict(), str(partial_file))
    return partial_file.replace(WEIGHTS)


def load_weights() -> StyleNetwork:
    """Raises FileNotFoundError where it was not trained."""
    network = StyleNetwork()
    network.load_state_dict(load_file(str(WEIGHTS)))
    return network.eval()


def examples(encoder: ServedEncoder) -> dict[str, dict[str, Arrays]]:
    """Inputs of both engines by size: two wide pictures, and a tile."""
    rng = np.random.default_rng(0)
    made: dict[str, dict[str, Arrays]] = {"style_encoder": {}, "style_painter": {}}
    for label, (count, height, width) in {"wide": (2, 40, 72), "tile": (1, TILE_PX, TILE_PX)}.items():
        image, style = (rng.integers(0, 256, (count, height, width, 3), np.uint8) for _ in range(2))
        with torch.no_grad():
            both = [encoder(torch.from_numpy(one)).numpy() for one in (image, style)]
        textures = np.stack([window(0, 0, 8 * i, height, width) for i in range(count)])
        made["style_encoder"][label] = {"image": image}
        made["style_painter"][label] = {"image": image, "content": both[0], "style": both[1], "textures": textures}
    return made


def write_engines(network: StyleNetwork, report: Report, minutes: float, repository: Path, version: str) -> list[Path]:
    """Both folders. Raises ParityError."""
    encoder = ServedEncoder(network).eval()
    inputs = examples(encoder)
    served: tuple[tuple[Contract, nn.Module], ...] = ((ENCODER, encoder), (PAINTER, ServedPainter(network).eval()))
    facts: dict[str, Any] = {
        "style": {"statistics": STATISTICS, "step_px": STEP, "overlap_px": REACH_PX, "tile_px": TILE_PX},
        "command": f"python -m build_engines train style --minutes {minutes:g}",
        "data": {
            "sets": [{"package": s.package, "version": s.version, "license": s.license} for s in ICON_SETS],
            "painted": "scenes and paintings drawn by build_engines/style",
        },
        "metrics": asdict(report) | {"gain": round(report.gain, 3)},
    }
    return [
        place(
            stage(contract, module, inputs[contract.name], ("wide", "tile"), facts, repository, version),
            repository / contract.name,
        )
        for contract, module in served
    ]
