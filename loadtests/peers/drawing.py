"""diffusers' eager loop as a function from a prompt and a seed to a PNG, for peers that serve it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

REPOSITORY = "model_repository"


def painter(folder: Path, steps: int) -> Callable[[str, int], bytes]:
    """``folder`` holds the checkpoint and the engines that ``loadtests.benchmarks.peers`` made of it."""
    from loadtests.illustrate.peers import diffusers_eager
    from loadtests.illustrate.workload import Workload

    subject = Workload(folder / "checkpoint", folder / REPOSITORY)
    draw = diffusers_eager(subject, steps, subject.family.defaults.guidance_scale)

    def png(prompt: str, seed: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(draw(prompt, seed)).save(buffer, "PNG")
        return buffer.getvalue()

    return png
