"""Style engines that are functions, and the folders of a repository that announce them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.ensembles.drawn_family import engines
from tests.fakes import FakeEngines

STATED = {"statistics": 6, "step_px": 8, "overlap_px": 8, "tile_px": 48}


def write_style_engines(repository: Path) -> Path:
    for name in ("style_encoder", "style_painter"):
        folder = repository / name
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {"name": name, "version": "2", "created": "2026-11-25T09:00:00+00:00", "style": STATED}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return repository


def statistics(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Means and deviations of the three colours."""
    image = inputs["image"].astype(np.float32)
    values = [image.mean((1, 2)), np.sqrt(image.var((1, 2)) + 1e-2)]
    return {"statistics": np.concatenate(values, 1).astype(np.float32)}


def painted(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The colours with the style's means and deviations; each pixel is that of the whole picture, without noise."""
    own, style = (np.split(inputs[name][:, None, None], 2, axis=-1) for name in ("content", "style"))
    made = (inputs["image"].astype(np.float32) - own[0]) / own[1] * style[1] + style[0]
    return {"painted": np.clip(made + 0.5, 0, 255).astype(np.uint8)}


STYLE_ANSWERS = {"style_encoder": statistics, "style_painter": painted}


def with_style_engines() -> FakeEngines:
    """Those of the family of `drawn_family`, and of style transfer."""
    found = engines()
    found.answers |= STYLE_ANSWERS
    return found
