"""Teaches the denoiser to draw in four steps as well, without guidance, in the weights that it has.

The averaged weights draw whole trajectories with guidance, and the network learns to go from one of four noise levels
to the next in one step (Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", 2022; with
guidance: Meng et al., "On Distillation of Guided Diffusion Models", 2023). It knows these steps by their timesteps,
which begin at ``FEW_STEP_OFFSET``. Every batch shows as many pictures of the flow: it draws in many steps as before.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from build_engines.mini.flow import TRAIN_TIMESTEPS
from build_engines.mini.networks import mixed_precision
from build_engines.mini.tokenizer import encode
from build_engines.mini.training.drawing import FEW_STEPS, GUIDANCE_SCALE, few_step_sigmas, guided_step
from build_engines.mini.training.flow import ConditionedDenoiser, FlowLearner
from build_engines.mini.training.hybrid import FEW_STEP_OFFSET

_SUBSTEPS = 5
"""Of the teacher, for each step of the student."""
_CHUNK = 1024
"""Trajectories that are drawn at once."""


class FewStepLearner(FlowLearner):
    """Needs ``teach`` before its first step."""

    _trajectories: Tensor
    _captions: Tensor

    def teach(self, state: dict[str, Any], stop: Callable[[], bool] = lambda: False) -> bool:
        """Trains on from the averaged weights of another learner's state; they draw the trajectories. False when it was
        stopped before all are drawn."""
        self.begin_with(state)
        count, made = self.preset.trajectories, []
        for first in range(0, count, _CHUNK):
            if stop():
                return False
            made.append(self._drawn(first, min(_CHUNK, count - first)))
        self._trajectories, self._captions = (torch.cat(part) for part in zip(*made, strict=True))
        return True

    @torch.no_grad()
    def _drawn(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Samples (count, 5, C, side, side) at the four levels and without noise, and token ids (count, 16)."""
        generator = torch.Generator(self.device).manual_seed((self.seed << 40) + (1 << 39) + first)
        rows = torch.multinomial(self._shares, count, True, generator=generator)
        which = torch.randint(self._ids.shape[1], (count,), generator=generator, device=self.device)
        ids = self._ids[rows, which].long()
        shape = (count, *self._values.shape[1:])
        sample = torch.randn(shape, generator=generator, device=self.device)
        teacher, states = self.average, [sample]
        with mixed_precision(self.device):
            text = teacher.embed(torch.cat([ids, self._no_caption().expand(count, -1)]))
            for begin, end in itertools.pairwise(few_step_sigmas()):
                for sigma, following in itertools.pairwise(np.linspace(begin, end, _SUBSTEPS + 1)):
                    sample = guided_step(teacher, sample, text, float(sigma), float(following), GUIDANCE_SCALE)
                states.append(sample)
        return torch.stack(states, 1).half(), ids

    def _no_caption(self) -> Tensor:
        return torch.from_numpy(encode(self.tokenizer, [""], self._ids.shape[-1])).to(self.device)

    def loss(self, model: ConditionedDenoiser, n: int) -> Tensor:
        return super().loss(model, n) + self.few_step_loss(model, n)

    def few_step_loss(self, model: ConditionedDenoiser, n: int) -> Tensor:
        """The mean squared error of the mean velocity from a level of a trajectory to the next."""
        generator = torch.Generator(self.device).manual_seed((self.seed << 40) + (3 << 37) + n)
        count = len(self._trajectories)
        rows = torch.randint(count, (self.batch,), generator=generator, device=self.device)
        levels = torch.randint(FEW_STEPS, (self.batch,), generator=generator, device=self.device)
        begin, end = (self._trajectories[rows, levels + after].float() for after in (0, 1))
        sigmas = torch.tensor(few_step_sigmas(), dtype=torch.float32, device=self.device)
        lengths = (sigmas[levels + 1] - sigmas[levels])[:, None, None, None]
        timesteps = FEW_STEP_OFFSET + sigmas[levels] * TRAIN_TIMESTEPS
        noisy = begin.contiguous(memory_format=torch.channels_last)
        with mixed_precision(self.device):
            velocity = model(noisy, timesteps, self._captions[rows])
        loss: Tensor = (velocity.float() - (end - begin) / lengths).square().mean()
        return loss
