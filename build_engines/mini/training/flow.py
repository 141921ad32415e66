"""Trains denoiser and text encoder together: rectified flow on cached latents.

A latent x and noise n are mixed to (1 - sigma) x + sigma n, and the network predicts n - x from it, from the timestep
1000 sigma and from the caption (Liu et al., "Flow Straight and Fast", 2022). sigma is logit-normal (Esser et al.,
"Scaling Rectified Flow Transformers", 2024). A tenth of the captions is empty, for classifier-free guidance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPTextModel

from build_engines.mini.autoencoder import falling_rate
from build_engines.mini.corpus.captions import CURATED, CaptionWriter
from build_engines.mini.corpus.curriculum import weight
from build_engines.mini.corpus.pictures import Corpus
from build_engines.mini.corpus.vectors import Vocabulary
from build_engines.mini.flow import TRAIN_TIMESTEPS
from build_engines.mini.loop import Descent
from build_engines.mini.pictures import Variant
from build_engines.mini.tokenizer import encode, make_tokenizer
from build_engines.mini.training.denoisers import Vector, make_denoiser
from build_engines.mini.training.latents import Latents
from build_engines.mini.training.presets import DenoiserPreset
from build_engines.mini.training.text import TOKENS, make_text_encoder

_COLOURED_SHARE = 0.25
"""Share of the pictures of a colourable icon that are recoloured."""
_MIRRORED_SHARE = 0.15
"""Share of the other pictures that are mirrored, where they may be."""
_AVERAGE_EVERY = 4
"""Steps between updates of the averaged weights."""


@dataclass(frozen=True)
class Rows:
    """Rows of the latents that show one icon: as it is, mirrored, in another colour."""

    plain: tuple[int, ...]
    mirrored: tuple[int, ...]
    coloured: tuple[int, ...]

    def pick(self, rng: np.random.Generator) -> int:
        chance = rng.random(2)
        group = self.mirrored if self.mirrored and chance[1] < _MIRRORED_SHARE else self.plain
        group = self.coloured if self.coloured and chance[0] < _COLOURED_SHARE else group
        return group[int(rng.integers(len(group)))]


def group_rows(variants: Sequence[Variant]) -> list[Rows]:
    """The rows of each icon of which a plain one is among ``variants``."""
    groups: dict[int, tuple[list[int], list[int], list[int]]] = {}
    for row, variant in enumerate(variants):
        of_icon = groups.setdefault(variant.index, ([], [], []))
        of_icon[2 if variant.colour is not None else int(variant.flip)].append(row)
    return [Rows(tuple(a), tuple(b), tuple(c)) for a, b, c in groups.values() if a]


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
    ) -> None:
        self.preset, self.corpus, self.latents, self.seed = preset, corpus, latents, seed
        self.batch, self.steps, self.first = preset.batch, preset.samples // preset.batch, 0
        self.tokenizer: Tokenizer = make_tokenizer(vocabulary.words)
        channels, side = latents.values.shape[1:3]
        torch.manual_seed(seed + 1)
        self.model = ConditionedDenoiser(preset, vocabulary, channels, side)
        self.average = ConditionedDenoiser(preset, vocabulary, channels, side).eval().requires_grad_(False)
        if compiled:
            self.model.denoiser.compile()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), 1.0, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self._rows = group_rows(latents.variants)
        weights = [self._weight(rows.plain[0]) for rows in self._rows]
        self._weights = np.asarray(weights) / sum(weights)
        self.explained: float | None = None
        """The share of the latents' variance that a vector denoiser's components hold."""
        if isinstance(self.model.denoiser, Vector):
            self.explained = self.model.denoiser.network.fit(*self._pictures())
        self.average.load_state_dict(self.model.state_dict())
        self._writers = CaptionWriter(corpus.concepts), CaptionWriter(corpus.concepts, CURATED)

    def _weight(self, row: int) -> float:
        entry = self.corpus.entries[self.latents.variants[row].index]
        return weight(entry.set, self.corpus.concepts[entry.concept])

    def _pictures(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Latents of the icons as they are, and how often each is shown."""
        plain = [rows.plain[0] for rows in self._rows]
        return np.asarray(self.latents.values[plain], np.float32), self._weights

    def pick(self, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents, noise (B, C, side, side), sigmas (B,) and token ids (B, 16) of step ``n``."""
        rng = np.random.default_rng((self.seed, 2, n))
        icons = rng.choice(len(self._rows), self.batch, p=self._weights)
        rows = [self._rows[int(i)].pick(rng) for i in icons]
        chosen = [self.latents.variants[row] for row in rows]
        writers = [self._writers[int(plain)] for plain in rng.random(self.batch) < self.preset.curated]
        captions = [w.write(rng, self.corpus.entries[v.index], v.colour) for w, v in zip(writers, chosen, strict=True)]
        wanted = np.asarray(self.latents.values[rows], np.float32)
        noise = rng.standard_normal(wanted.shape, np.float32)
        levels = self.preset.noise_mean + self.preset.noise_std * rng.standard_normal(self.batch, np.float32)
        sigmas = 1 / (1 + np.exp(-levels))
        ids = encode(self.tokenizer, captions, TOKENS)
        return torch.from_numpy(wanted), torch.from_numpy(noise), torch.from_numpy(sigmas), torch.from_numpy(ids)

    def loss(self, model: ConditionedDenoiser, n: int) -> Tensor:
        """The mean squared error of the velocity on the batch of step ``n``; of a vector denoiser, in proportion to
        that of the best linear guess."""
        wanted, noise, sigmas, ids = self.pick(n)
        share = sigmas[:, None, None, None]
        noisy = ((1 - share) * wanted + share * noise).contiguous(memory_format=torch.channels_last)
        timesteps = sigmas * TRAIN_TIMESTEPS
        error: Tensor = model(noisy, timesteps, ids) - (noise - wanted)
        squares = error.square().mean((1, 2, 3))
        if isinstance(model.denoiser, Vector):
            squares = squares * model.denoiser.network.loss_weights(timesteps)
        return squares.mean()

    def step(self, n: int) -> float:
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
