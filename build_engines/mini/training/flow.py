"""Trains denoiser and text encoder together: rectified flow on cached latents.

A latent x and noise n are mixed to (1 - sigma) x + sigma n, and the network predicts n - x from it, from the timestep
1000 sigma and from the caption (Liu et al., "Flow Straight and Fast", 2022). sigma is logit-normal (Esser et al.,
"Scaling Rectified Flow Transformers", 2024). A tenth of the captions is empty, for classifier-free guidance.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPTextModel

from build_engines.mini.autoencoder import falling_rate
from build_engines.mini.corpus.curriculum import weight
from build_engines.mini.corpus.pictures import Corpus
from build_engines.mini.corpus.vectors import Vocabulary
from build_engines.mini.flow import TRAIN_TIMESTEPS
from build_engines.mini.loop import Descent
from build_engines.mini.networks import mixed_precision
from build_engines.mini.pictures import Variant
from build_engines.mini.tokenizer import make_tokenizer
from build_engines.mini.training.captions import Ids, write_all
from build_engines.mini.training.denoisers import Vector, make_denoiser
from build_engines.mini.training.latents import Latents
from build_engines.mini.training.presets import DenoiserPreset
from build_engines.mini.training.text import make_text_encoder

_COLOURED_SHARE = 0.25
"""Share of the pictures of a colourable icon that are recoloured."""
_MIRRORED_SHARE = 0.15
"""Share of the other pictures that are mirrored, where they may be."""
_AVERAGE_EVERY = 4
"""Steps between updates of the averaged weights."""


def shares(variants: Sequence[Variant], corpus: Corpus, clean: bool = False) -> npt.NDArray[np.float64]:
    """How often each row of the latents is shown, of sum 1: an icon by its ``weight``, as it is, mirrored or in another
    colour; never where it is not there as it is."""
    groups: dict[int, tuple[list[int], list[int], list[int]]] = {}
    for row, variant in enumerate(variants):
        rows = groups.setdefault(variant.index, ([], [], []))
        rows[2 if variant.colour is not None else int(variant.flip)].append(row)
    found = np.zeros(len(variants), np.float64)
    for index, (plain, mirrored, coloured) in groups.items():
        if plain:
            entry = corpus.entries[index]
            of_icon, left = weight(entry.set, corpus.concepts[entry.concept], clean), 1.0
            for group, share in ((coloured, _COLOURED_SHARE), (mirrored, _MIRRORED_SHARE), (plain, 1.0)):
                if group:
                    found[group] = of_icon * left * share / len(group)
                    left *= 1 - share
    found /= found.sum()
    return found


class ConditionedDenoiser(nn.Module):
    """Token ids and noisy latents to the predicted velocity."""

    def __init__(self, preset: DenoiserPreset, vocabulary: Vocabulary, channels: int, side: int) -> None:
        super().__init__()
        self.text_encoder: CLIPTextModel = make_text_encoder(preset, vocabulary)
        self.denoiser = make_denoiser(preset, channels, side)

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids (B, 16) to the text (B, 16, width) that the denoiser attends to."""
        embeds: Tensor = self.text_encoder(ids).last_hidden_state
        return embeds

    def forward(self, noisy: Tensor, timesteps: Tensor, ids: Tensor) -> Tensor:
        velocity: Tensor = self.denoiser(noisy, timesteps, self.embed(ids))
        return velocity


class FlowLearner(Descent[ConditionedDenoiser]):
    """``average`` holds the exponential moving average of the weights, which is what draws; ``first`` is the step at
    which the optimiser began."""

    def __init__(
        self,
        preset: DenoiserPreset,
        corpus: Corpus,
        latents: Latents,
        vocabulary: Vocabulary,
        seed: int = 0,
        compiled: bool = False,
        device: str = "cpu",
        captions: Ids | None = None,
    ) -> None:
        self.preset, self.corpus, self.latents, self.seed, self.device = preset, corpus, latents, seed, device
        self.batch, self.steps, self.first = preset.batch, preset.samples // preset.batch, 0
        self.tokenizer: Tokenizer = make_tokenizer(vocabulary.words)
        channels, side = latents.values.shape[1:3]
        torch.manual_seed(seed + 1)
        self.model = ConditionedDenoiser(preset, vocabulary, channels, side)
        self.average = ConditionedDenoiser(preset, vocabulary, channels, side).eval().requires_grad_(False)
        if compiled:
            self.model.denoiser.compile()
        shown = shares(latents.variants, corpus, preset.clean)
        self.explained: float | None = None
        """The share of the latents' variance that a vector denoiser's components hold."""
        if isinstance(self.model.denoiser, Vector):
            self.explained = self.model.denoiser.network.fit(*self._pictures(shown))
        self.average.load_state_dict(self.model.state_dict())
        for network in (self.model, self.average):
            network.to(device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), 1.0, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        if captions is None:
            captions = write_all(corpus, latents.variants, self.tokenizer, preset, seed)
        self._values, self._ids = torch.from_numpy(latents.values).to(device), torch.from_numpy(captions).to(device)
        self._shares = torch.from_numpy(shown).to(device)

    def _pictures(self, shown: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Latents of the icons as they are, and how often each is shown."""
        plain = [row for row, v in enumerate(self.latents.variants) if v.colour is None and not v.flip]
        return np.asarray(self.latents.values[plain], np.float32), shown[plain] / shown[plain].sum()

    def pick(self, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents, noise (B, C, side, side), sigmas (B,) and token ids (B, 16) of step ``n``."""
        generator = torch.Generator(self.device).manual_seed((self.seed << 40) + n)
        rows = torch.multinomial(self._shares, self.batch, True, generator=generator)
        which = torch.randint(self._ids.shape[1], (self.batch,), generator=generator, device=self.device)
        wanted = self._values[rows].float()
        noise = torch.randn(wanted.shape, generator=generator, device=self.device)
        levels = torch.randn(self.batch, generator=generator, device=self.device)
        sigmas = torch.sigmoid(self.preset.noise_mean + self.preset.noise_std * levels)
        return wanted, noise, sigmas, self._ids[rows, which].long()

    def loss(self, model: ConditionedDenoiser, n: int) -> Tensor:
        """The mean squared error of the velocity on the batch of step ``n``; of a vector denoiser, in proportion to
        that of the best linear guess."""
        wanted, noise, sigmas, ids = self.pick(n)
        share = sigmas[:, None, None, None]
        noisy = ((1 - share) * wanted + share * noise).contiguous(memory_format=torch.channels_last)
        timesteps = sigmas * TRAIN_TIMESTEPS
        exact = isinstance(model.denoiser, Vector)  # its projections of the noise do not stand rounding
        with contextlib.nullcontext() if exact else mixed_precision(self.device):
            velocity = model(noisy, timesteps, ids)
        squares: Tensor = (velocity.float() - (noise - wanted)).square().mean((1, 2, 3))
        if isinstance(model.denoiser, Vector):
            squares = squares * model.denoiser.network.loss_weights(timesteps)
        return squares.mean()

    def step(self, n: int) -> Tensor:
        preset = self.preset
        rate = falling_rate(n, self.steps, 1, preset.falling)
        rate *= min(1.0, (n - self.first + 1) / preset.warm_up_steps)
        self.optimizer.param_groups[0]["lr"] = preset.learning_rate * rate
        torch.manual_seed(n)
        value = self.descend(self.loss(self.model, n), 1.0)
        if n % _AVERAGE_EVERY == _AVERAGE_EVERY - 1:
            self._follow(min(preset.ema_decay, (1 + n) / (20 + n)) ** _AVERAGE_EVERY)
        return value

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)

    def begin_with(self, state: dict[str, Any]) -> None:
        """Trains on from the averaged weights of another learner's state, with a new optimiser."""
        for network in (self.model, self.average):
            network.load_state_dict(state["average"])

    def state(self) -> dict[str, Any]:
        return super().state() | {"average": self.average.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Of a network with fewer layers too: the others begin as identities, and the optimiser anew."""
        if state["model"].keys() == self.model.state_dict().keys():
            super().restore(state)
            self.average.load_state_dict(state["average"])
            return
        for network, weights in ((self.model, state["model"]), (self.average, state["average"])):
            missing, unknown = network.load_state_dict(weights, strict=False)
            foreign = [name for name in missing if ".transformer." not in name] + list(unknown)
            if foreign:
                raise ValueError(f"the checkpoint is of another network: {foreign[0]}")

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())
