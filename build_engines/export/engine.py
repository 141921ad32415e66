"""Writes one engine's folder: ``1/model.onnx``, ``config.pbtxt`` and ``manifest.json``."""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import nn

from build_engines.data.icons import ICON_SETS
from build_engines.export.config import config_text
from build_engines.export.contracts import CONTRACTS
from build_engines.export.onnx_file import sha256, write_onnx
from build_engines.export.parity import check
from build_engines.export.runtimes import choose_backend
from serve.settings import HOME

MODEL_REPOSITORY = HOME / "model_repository"
"""Of the checkout. With an installed package it is in the user's data folder: the package's own is not written to."""


@dataclass(frozen=True)
class Provenance:
    """What a manifest says about where an engine comes from."""

    version: str
    command: str
    data: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)


def write_engine(name: str, network: nn.Module, provenance: Provenance, repository: Path = MODEL_REPOSITORY) -> Path:
    """Exports, checks parity, chooses the backend, and replaces the engine's folder only when all went well."""
    contract = CONTRACTS[name]
    staged = repository / f".{name}.staged"
    shutil.rmtree(staged, ignore_errors=True)
    path = staged / "1" / "model.onnx"
    write_onnx(network, contract, path)
    parity = check(network, contract, path)
    backend, benchmark = choose_backend(path, contract)
    (staged / "config.pbtxt").write_text(config_text(contract, backend))
    manifest = {
        "name": name,
        "version": provenance.version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": provenance.command,
        "data": {"sets": [{"package": s.package, "version": s.version, "license": s.license} for s in ICON_SETS]}
        | provenance.data,
        "metrics": provenance.metrics,
        "parity": parity,
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "parameters": sum(p.numel() for p in network.parameters()),
        "backend_benchmark": benchmark,
        "built_with": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }
    (staged / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    folder = repository / name
    shutil.rmtree(folder, ignore_errors=True)
    staged.rename(folder)
    return folder
