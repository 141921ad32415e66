"""Checkpoints of every class, each made into engines by the real command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import onnxruntime
from typer.testing import CliRunner

from build_engines.cli import app

MAKERS: dict[str, Callable[[Path], Path]] = {
    "sd15": checkpoints.stable_diffusion_15,
    "sd21": checkpoints.stable_diffusion_21,
    "sdxl": checkpoints.stable_diffusion_xl,
    "starter": checkpoints.starter,
    "sd15_inpainting": checkpoints.stable_diffusion_15_inpainting,
    "sdxl_inpainting": checkpoints.stable_diffusion_xl_inpainting,
}


class Built:
    """A checkpoint and the repository that the command made of it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.checkpoint = MAKERS[name](folder / "checkpoint")
        self.repository = folder / "model_repository"
        arguments = ["illustrate", "--source", str(self.checkpoint), "--name", name]
        self.result = CliRunner().invoke(app, [*arguments, "--repository", str(self.repository)])
        assert self.result.exit_code == 0, self.result.output
        self._sessions: dict[str, Any] = {}

    def engine(self, part: str) -> Path:
        return self.repository / f"{self.name}_{part}"

    def manifest(self, part: str) -> dict[str, Any]:
        return json.loads((self.engine(part) / "manifest.json").read_text())

    def run(self, part: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        if part not in self._sessions:
            path = str(self.engine(part) / "1" / "model.onnx")
            self._sessions[part] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        session = self._sessions[part]
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))
