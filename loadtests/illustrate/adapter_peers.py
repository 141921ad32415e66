"""Requests with adapters at eight callers: through engines that batch them, and one by one in diffusers' networks.

Each request is some steps of two rows (with guidance) with or without a LoRA of its own and a ControlNet. Text encoder,
VAE and sampler are the same work on both sides and left out. diffusers merges a LoRA into the weights before a request
and takes it out again, as its ``fuse_lora`` and ``unfuse_lora`` do: that is the cheapest of its ways.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save

from loadtests.vectorize.table import markdown
from serve.diffusion.adapters import EngineAdapters
from serve.engines.adapter_files import IDS, SCALES, SLOTS
from serve.engines.client import EngineClient

STEPS, GUIDANCE, RATE = 4, 6.0, 0.1
CONTROL = 100
Arrays = dict[str, npt.NDArray[Any]]
Factors = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""Of a LoRA: down and up of each layer."""
REQUESTS: Sequence[tuple[int, bool]] = (
    (0, False), (0, False), (1, False), (2, False), (3, False), (0, True), (0, True), (4, True),
)  # fmt: skip
"""The LoRA's number, 0 for none, and whether there is a ControlNet, of each of eight callers."""


@dataclass(frozen=True)
class Networks:
    """diffusers' own."""

    unet: Any
    controlnet: Any


def random_factors(adapters: EngineAdapters, rank: int, seed: int) -> Factors:
    generator = torch.Generator().manual_seed(seed)

    def random(rows: int, columns: int) -> torch.Tensor:
        return 0.05 * torch.randn(rows, columns, generator=generator)

    layers = adapters.layers["attention"]
    return {layer.name: (random(rank, layer.inputs), random(layer.outputs, rank)) for layer in layers}


def as_file(factors: Factors) -> bytes:
    """In diffusers' layout."""
    tensors: dict[str, torch.Tensor] = {}
    for name, (down, up) in factors.items():
        tensors |= {f"unet.{name}.lora.down.weight": down, f"unet.{name}.lora.up.weight": up}
    return bytes(save(tensors))


class OneByOne:
    """``picture``: the control picture, (H, W, 3) of bytes."""

    def __init__(self, networks: Networks, loras: Sequence[Factors], picture: npt.NDArray[np.uint8]) -> None:
        self._networks = networks
        self._loras = loras
        self._modules = dict(networks.unet.named_modules())
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
        self._control = pixels.expand(2, -1, -1, -1)

    @torch.no_grad()
    def draw(self, lora: int, controlled: bool, inputs: Arrays) -> npt.NDArray[np.float32]:
        """The latents after the steps."""
        sample = torch.from_numpy(inputs["sample"][:1].copy())
        timestep, text = torch.from_numpy(inputs["timestep"][:, 0]), torch.from_numpy(inputs["encoder_hidden_states"])
        if lora:
            self._merge(lora, 1.0)
        for _ in range(STEPS):
            both = torch.cat([sample, sample])
            residuals: dict[str, Any] = {}
            if controlled:
                down, middle = self._networks.controlnet(both, timestep, text, self._control, return_dict=False)
                residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
            free, wanted = self._networks.unet(both, timestep, text, **residuals).sample.chunk(2)
            sample = sample - RATE * (free + GUIDANCE * (wanted - free))
        if lora:
            self._merge(lora, -1.0)
        return np.asarray(sample.numpy())

    def _merge(self, lora: int, weight: float) -> None:
        for name, (down, up) in self._loras[lora - 1].items():
            matrix = self._modules[name].weight
            matrix.add_(weight * (up @ down).reshape(matrix.shape))


async def batched(client: EngineClient, engine: str, lora: int, controlled: bool, inputs: Arrays) -> Any:
    ids, scales = np.zeros((2, SLOTS), np.int64), np.zeros((2, SLOTS), np.float32)
    for place, number in enumerate([one for one in (lora, CONTROL if controlled else 0) if one]):
        ids[:, place], scales[:, place] = number, 1.0
    sample = inputs["sample"][:1]
    for _ in range(STEPS):
        asked = {**inputs, "sample": np.repeat(sample, 2, axis=0), IDS: ids, SCALES: scales}
        free, wanted = np.split((await client.infer(engine, asked))["noise_pred"], 2)
        sample = sample - np.float32(RATE) * (free + np.float32(GUIDANCE) * (wanted - free))
    return sample


async def compared(client: EngineClient, engine: str, peer: OneByOne, inputs: Callable[[], Arrays], turns: int) -> str:
    """Raises ValueError where both sides draw other latents."""
    one, taken = inputs(), {"batched": list[float](), "one by one": list[float]()}
    for turn in range(turns + 1):  # the first does not count
        began = time.perf_counter()
        ours = await asyncio.gather(*(batched(client, engine, *request, one) for request in REQUESTS))
        middle = time.perf_counter()
        theirs = [peer.draw(*request, one) for request in REQUESTS]
        ended = time.perf_counter()
        if turn:
            taken["batched"].append(middle - began)
            taken["one by one"].append(ended - middle)
        for mine, other in zip(ours, theirs, strict=True):
            error = float(np.sqrt(np.mean((mine - other) ** 2)) / np.std(other))
            if not error < 0.01:
                raise ValueError(f"both sides draw other latents: relative RMS error {error}")
    ratio = float(np.median(np.divide(taken["one by one"], taken["batched"])))
    rows = [[side, f"{1000 * np.median(seconds):.0f}"] for side, seconds in taken.items()]
    rows[0].append(f"{ratio:.2f}")
    rows[1].append("1.00")
    load = f"{os.getloadavg()[0]:.0f}"
    head = [f"8 callers, {STEPS} steps each (load average {load})", "ms for all", "times as fast"]
    return markdown(head, rows)
