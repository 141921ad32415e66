"""``manifest.json`` of one engine: where it comes from, what is in it, how well and how fast it answers."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from build_engines.export.onnx_file import OPSET, sha256
from build_engines.illustrate.contracts import Engine
from build_engines.illustrate.design import BuildOptions, Design

_PACKAGES = ("torch", "diffusers", "transformers", "onnx", "onnxruntime", "openvino")


def write_manifest(
    build_options: BuildOptions, design: Design, engine: Engine, folder: Path, model_file: str, facts: dict[str, Any]
) -> None:
    """``facts`` are those of the build: parity, backend_benchmark, parameters. The UNet's has the family as well."""
    files = {path.name: path for path in sorted((folder / "1").iterdir())}
    source = design.checkpoint.source
    manifest: dict[str, Any] = {
        "name": engine.contract.name,
        "version": "1",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": build_options.command,
        "source": source.name,
        "revision": source.revision,
        "target": build_options.target,
        "precision": build_options.precision,
        "opset": OPSET,
        "sha256": sha256(files[model_file]),
        "bytes": sum(path.stat().st_size for path in files.values()),
        "files": {name: {"sha256": sha256(path), "bytes": path.stat().st_size} for name, path in files.items()},
        **facts,
        "origin": design.checkpoint.overrides.get("origin"),
        "notes": list(design.notes),
        "built_with": {"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES},
    }
    if engine.part == "unet":
        manifest["family"] = design.family
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
