"""Writes the folder of a finishing engine: ONNX, configuration, parity, and a manifest that says what it does."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from build_engines.data.icons import ICON_SETS, VAR
from build_engines.export.config import Backend, config_text
from build_engines.export.contracts import Contract, Tensor
from build_engines.export.onnx_file import sha256
from build_engines.export.runtimes import RUNTIMES, Arrays, Run, choose_backend
from build_engines.illustrate import onnx_file, parity
from build_engines.illustrate.precision import Precision
from build_engines.upscale.network import Served, Upscaler
from build_engines.upscale.training import Report

WEIGHTS = VAR / "upscale"
TILE_PX = 128
MAX_BATCH = 4
_AXES = ("height_px", "width_px")
_WARMUP = {"height_px": 64, "width_px": 64}


def contract_of(name: str, channels: int, out_channels: int | None = None) -> Contract:
    """Pictures of any size, 8 bits, to pictures of 8 bits."""
    image = Tensor("image", (-1, -1, channels), "TYPE_UINT8", _AXES)
    made = Tensor("result", (-1, -1, out_channels or channels), "TYPE_UINT8", ("out_height_px", "out_width_px"))
    return Contract(name, (image,), (made,), MAX_BATCH, (), threads=0, warmup=_WARMUP)


def examples(channels: int) -> dict[str, Arrays]:
    """Pictures of odd shapes, small ones, and a tile."""
    rng = np.random.default_rng(0)
    shapes = {"odd": (2, 21, 35), "tile": (1, TILE_PX, TILE_PX), "small": (1, 3, 5)}
    return {label: {"image": rng.integers(0, 256, (*shape, channels), np.uint8)} for label, shape in shapes.items()}


def save_weights(network: Upscaler) -> Path:
    path = WEIGHTS / f"{network.scale}x.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), str(path))
    return path


def load_weights(scale: int) -> Upscaler:
    """Raises FileNotFoundError where it was not trained."""
    network = Upscaler(scale)
    network.load_state_dict(load_file(str(WEIGHTS / f"{scale}x.safetensors")))
    return network.eval()


def write_upscaler(network: Upscaler, report: Report, minutes: float, repository: Path, version: str) -> Path:
    """The engine ``upscale_Nx``. Raises ParityError."""
    name = f"upscale_{network.scale}x"
    contract, served = contract_of(name, 4), Served(network).eval()
    facts = {
        "finish": {
            "task": "upscale", "scale": network.scale, "channels": 4, "overlap_px": network.reach_px,
            "tile_px": TILE_PX,
        },
        "command": f"python -m build_engines train upscaler --minutes {minutes:g}",
        "data": {"sets": [{"package": s.package, "version": s.version, "license": s.license} for s in ICON_SETS]},
        "metrics": {"psnr_db": vars(report), "gain_db": round(report.gain, 2)},
    }  # fmt: skip
    staged = stage(contract, served, examples(4), ("odd", "tile"), facts, repository, version)
    return place(staged, repository / name)


def stage(
    contract: Contract,
    served: nn.Module,
    inputs: Mapping[str, Arrays],
    roles: tuple[str, str],
    facts: Mapping[str, Any],
    repository: Path,
    version: str,
    *,
    written: nn.Module | None = None,
    precision: Precision = "fp32",
    runtimes: Sequence[Backend] = tuple(RUNTIMES),
) -> Path:
    """The folder of a new engine beside those of ``repository``, for `place`. Raises ParityError.

    ``inputs`` are those of the parity check; ``roles``: which of them is traced, and which chooses the runtime.
    ``written``: the network of the file, where that is ``served`` with its weights stored otherwise. ``runtimes``:
    those that may serve it, all of which have to agree.
    """
    traced, timed = roles
    staged = repository / f".{contract.name}.staged"
    shutil.rmtree(staged, ignore_errors=True)
    path = staged / "1" / "model.onnx"
    onnx_file.write_onnx(written or served, contract, inputs[traced], precision, path)
    openers: dict[str, Callable[[], Run]] = {
        runtime: partial(RUNTIMES[runtime], path, contract) for runtime in runtimes
    }
    with torch.no_grad():
        expected = parity.answers(served, contract, list(inputs.values()))
    checked = parity.check(contract, openers, expected, precision)
    backend, benchmark = choose_backend(path, contract, {timed: inputs[timed]}, runtimes)
    measured = {
        "parity": checked,
        "parameters": sum(p.numel() for p in served.parameters()),
        "backend_benchmark": benchmark,
    }
    (staged / "config.pbtxt").write_text(config_text(contract, backend))
    write_manifest(staged, contract.name, version, {**facts, **measured})
    return staged


def write_manifest(folder: Path, name: str, version: str, facts: Mapping[str, Any]) -> None:
    """``facts``: among them the part that serving reads, such as ``finish``."""
    path = folder / "1" / "model.onnx"
    manifest = {
        "name": name,
        "version": version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "built_with": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def place(staged: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return staged.rename(folder)
