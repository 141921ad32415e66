"""Where adapters act in a family's networks: the layers that a LoRA may change, ControlNets, image prompts.

An adapter is data: arrays in a file (`serve.engines.adapter_files`). Those of a LoRA are matrices of its rank by the
width of a group of layers: of each layer in the group's order the down factor, kernel position by kernel position, then
the up factor.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

Floats = npt.NDArray[np.float32]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Layer(_Part):
    """A matrix or a square kernel: ``outputs`` x ``inputs`` x ``kernel`` x ``kernel``."""

    name: str = Field(min_length=1, max_length=256)
    inputs: int = Field(ge=1)
    outputs: int = Field(ge=1)
    kernel: int = Field(1, ge=1, le=15)

    @property
    def down_width(self) -> int:
        return self.inputs * self.kernel**2

    @property
    def width(self) -> int:
        return self.down_width + self.outputs


def _parse_layer(value: Any) -> Any:
    names = ("name", "inputs", "outputs", "kernel")
    return dict(zip(names, value, strict=False)) if isinstance(value, list | tuple) else value


_CompactLayer = Annotated[
    Layer,
    BeforeValidator(_parse_layer),
    PlainSerializer(lambda one: [one.name, one.inputs, one.outputs, one.kernel]),
]


class ControlNet(_Part):
    """``channels`` of the control picture. ``file``: beside the UNet's ``model.onnx``."""

    file: str = Field(pattern=r"^[a-z0-9_]+\.onnx$")
    source: str = ""


class ImagePrompt(_Part):
    """An IP-Adapter: ``tokens`` of ``width`` for each reference; ``blocks`` are the attention layers, in order.

    ``levels``: how often each block's positions are halved on each side; empty for engines that take no masks.
    """

    engine: str = Field(min_length=1)
    side_px: int = Field(ge=8, le=1024)
    tokens: int = Field(ge=1, le=1024)
    width: int = Field(ge=1)
    blocks: tuple[str, ...] = Field(min_length=1)
    levels: tuple[Annotated[int, Field(ge=0, le=7)], ...] = ()

    @property
    def mask_names(self) -> tuple[str, ...]:
        """The inputs of the masks over the positions of each level that has blocks."""
        return tuple(f"image_mask_{level}" for level in sorted(set(self.levels)))

    def grids(self, height: int, width: int) -> list[tuple[int, int]]:
        """Rows and columns of each of ``mask_names``, for latents of ``height`` x ``width``."""
        return [(-(-height >> level), -(-width >> level)) for level in sorted(set(self.levels))]


class EngineAdapters(_Part):
    """What one engine takes. ``layers``: by group; ``residuals``: names of the inputs that ControlNets add to.

    ``lazy``: its second network and its ControlNets are opened by their first use, not at start.
    """

    layers: Mapping[str, tuple[_CompactLayer, ...]] = Field(default_factory=dict)
    residuals: tuple[str, ...] = ()
    controls: Mapping[str, ControlNet] = Field(default_factory=dict)
    image_prompt: ImagePrompt | None = None
    lazy: bool = False

    @cached_property
    def positions(self) -> Mapping[str, tuple[str, int, Layer]]:
        """Group, offset in its matrix, and layer, by the layer's name."""
        found = {}
        for group, layers in self.layers.items():
            offset = 0
            for layer in layers:
                found[layer.name] = (group, offset, layer)
                offset += layer.width
        return found

    def width(self, group: str) -> int:
        return sum(layer.width for layer in self.layers[group])
