"""The weights that training goes on from where no folder of an earlier run is left: losing it costs hours, not days.

`build_engines/mini/weights` keeps the autoencoder and the averaged denoiser, matrices in 8 bits with one scale for each
row (training mends the rounding within its first steps), the rest and matrices that are not trained in float16. The
optimiser's state is not kept.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

FOLDER = Path(__file__).parents[1] / "weights"
_SCALE = ".scale"


def save(network: nn.Module, path: Path, samples: int = 0) -> None:
    """Writes the weights of ``network``. ``samples``: how many pictures of its training they have seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored: dict[str, Tensor] = {}
    constants = {name for name, _ in network.named_buffers()}
    for name, value in network.state_dict().items():
        if value.ndim < 2 or name in constants:
            stored[name] = value.half()
            continue
        scale = value.flatten(1).abs().amax(1).clamp(min=1e-8) / 127
        shape = (-1, *[1] * (value.ndim - 1))
        stored[name] = (value / scale.view(shape)).round().to(torch.int8).contiguous()
        stored[name + _SCALE] = scale.float()
    save_file(stored, str(path), {"samples": json.dumps(samples)})


def load(network: nn.Module, path: Path) -> int:
    """Sets the weights of ``network``; returns the ``samples`` of ``save``. Raises RuntimeError for another's."""
    with safe_open(str(path), "pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        samples = int(json.loads(file.metadata()["samples"]))
    weights = {name: _restored(name, stored) for name in stored if not name.endswith(_SCALE)}
    network.load_state_dict(weights)
    return samples


def _restored(name: str, stored: dict[str, Tensor]) -> Tensor:
    value = stored[name].float()
    scale = stored.get(name + _SCALE)
    return value if scale is None else value * scale.view(-1, *[1] * (value.ndim - 1))
