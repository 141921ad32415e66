"""Trains one adapter beside the frozen family: rectified flow on cached latents, as the family itself was trained."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from build_engines.mini.adapters.corpus import Corpus, noisy
from build_engines.mini.autoencoder import falling_rate
from build_engines.mini.captions import CaptionRule
from build_engines.mini.drawing import Painter
from build_engines.mini.loop import Descent
from build_engines.mini.tokenizer import encode

Condition = Callable[[np.random.Generator, list[int]], tuple[Tensor, ...]]
"""What the adapter takes besides, for these rows of the corpus."""


@dataclass(frozen=True)
class AdapterPreset:
    """``steps`` of ``batch`` pictures; captions after ``rule``."""

    steps: int
    learning_rate: float
    rule: CaptionRule
    batch: int = 16
    ema_decay: float = 0.99
    seed: int = 0


class AdapterLearner(Descent[nn.Module]):
    """``average`` has the moving average of the weights, which is what is kept. Both share the frozen UNet, so only
    one of them may act on it: ``average`` is never called."""

    def __init__(
        self, preset: AdapterPreset, painter: Painter, corpus: Corpus, model: nn.Module, condition: Condition
    ) -> None:
        self.preset, self.painter, self.corpus, self.condition = preset, painter, corpus, condition
        self.batch, self.steps, self.model = preset.batch, preset.steps, model
        self.trained: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.average = copy.deepcopy([parameter.detach() for parameter in self.trained])
        self.optimizer = torch.optim.AdamW(self.trained, 1.0, betas=(0.9, 0.99), weight_decay=0.01, fused=True)

    def step(self, n: int) -> Tensor:
        preset = self.preset
        rate = preset.learning_rate * falling_rate(n, self.steps, 40, 0.5)
        self.optimizer.param_groups[0]["lr"] = rate
        rng = np.random.default_rng((preset.seed, 3, n))
        rows = self.corpus.pick(rng, self.batch)
        ids = encode(self.painter.tokenizer, [self.corpus.caption(rng, row, preset.rule) for row in rows])
        sample, timesteps, wanted = noisy(self.corpus.latents[rows], rng)
        with torch.no_grad():
            embeds = self.painter.denoiser.text_encoder(torch.from_numpy(ids)).last_hidden_state
        loss = (self.model(sample, timesteps, embeds, *self.condition(rng, rows)) - wanted).square().mean()
        value = self.descend(loss, 1.0)
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.trained, 1 - min(preset.ema_decay, (1 + n) / (20 + n)))
        return value

    def settle(self) -> nn.Module:
        """The model with the averaged weights; training cannot go on from there."""
        for parameter, average in zip(self.trained, self.average, strict=True):
            parameter.data.copy_(average)
        return self.model.eval()

    def state(self) -> dict[str, Any]:
        return super().state() | {"average": self.average}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.average = [average.detach() for average in state["average"]]
