"""The denoiser of a picture as one vector: a perceptron on the principal components of its latents.

Latents of icons are alike: 512 of their 2,048 components hold 99.85 % of the variance. A perceptron sees the whole
picture in every layer and has no positions to repeat its work for, so that a step of training costs a fraction of a
convolutional network's. Noise is that of the latents themselves, whose places stay places: masks and regions work as
with every other denoiser.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from build_engines.mini.training.unet_interface import TextConditioned

_HIDDEN = 512
_QUERIES = 4
"""Learned weightings of the tokens of a text."""
_FREQUENCIES = 64
_LEAST_VARIANCE = 1e-3
_LEAST_SIGMA, _MOST_SIGMA = 1e-3, 0.9995


class _Block(nn.Module):
    """A feed-forward beside an identity, scaled, shifted and gated by the condition; an identity at the beginning."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.width = width
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.modulation = nn.Linear(condition, 3 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(condition).chunk(3, 1)
        normal = F.layer_norm(x, (self.width,)) * (1 + scale) + shift
        made: Tensor = x + gate * self.narrow(F.silu(self.wide(normal)))
        return made


class VectorDenoiser(TextConditioned):
    """A UNet's inputs and outputs: ``sample`` (B, C, side, side), ``timestep`` (B,) in [0, 1000], text (B, T, W).

    For a flow z = (1 - s) x + s n with s = timestep / 1000. ``fit`` gives it the mean of the latents, their principal
    components and variances. Along a component the best linear guess of x from z is known (Wiener's filter); the
    network gives what is left, at unit variance for every component and noise level. ``condition_width``: of what is
    computed of caption and timestep. ``addition_embed_type`` and ``time_cond_proj_dim`` are None, as in a UNet that is
    conditioned on text alone.
    """

    mean: Tensor
    basis: Tensor
    variances: Tensor

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int = 8,
        in_channels: int = 32,
        out_channels: int = 32,
        components: int = 512,
        width: int = 768,
        layers: int = 6,
        condition_width: int = 512,
        cross_attention_dim: int = 256,
        addition_embed_type: str | None = None,
        time_cond_proj_dim: int | None = None,
    ) -> None:
        super().__init__()
        size = in_channels * sample_size**2
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("basis", torch.eye(size, components))
        self.register_buffer("variances", torch.ones(components))
        self.weigh, self.pooled = (
            nn.Linear(cross_attention_dim, _QUERIES),
            nn.Linear(_QUERIES * cross_attention_dim, _HIDDEN),
        )
        self.time = nn.Linear(2 * _FREQUENCIES, _HIDDEN)
        self.condition = nn.Linear(_HIDDEN, condition_width)
        self.enter, self.leave = nn.Linear(components, width), nn.Linear(width, components)
        self.blocks = nn.ModuleList(_Block(width, condition_width) for _ in range(layers))
        self.direct = nn.Linear(_HIDDEN, components)
        for last in (self.leave, self.direct):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    @torch.no_grad()
    def fit(self, latents: npt.NDArray[np.float32], weights: npt.NDArray[np.float64]) -> float:
        """Takes mean, components and variances from ``latents`` (N, C, side, side), shown as often as ``weights``
        (N,), of sum 1, say. The share of the variance that the components hold."""
        flat = latents.reshape(len(latents), -1).astype(np.float32)
        mean = weights.astype(np.float32) @ flat
        scaled = (flat - mean) * np.sqrt(weights, dtype=np.float64).astype(np.float32)[:, None]
        variances, vectors = np.linalg.eigh((scaled.T @ scaled).astype(np.float64))
        kept = self.variances.shape[0]
        signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])
        basis = (vectors * signs)[:, ::-1][:, :kept]
        self.mean.copy_(torch.from_numpy(mean))
        self.basis.copy_(torch.from_numpy(np.ascontiguousarray(basis, np.float32)))
        self.variances.copy_(torch.from_numpy(variances[::-1][:kept].clip(_LEAST_VARIANCE).astype(np.float32)))
        return float(variances[::-1][:kept].sum() / variances.sum())

    def velocity(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """The predicted n - x, in the shape of ``noisy``. Another size than its own is resampled: the network knows
        pictures of one size."""
        sigma, side = _sigmas(timesteps), self.config.sample_size
        flat = _resampled(noisy, (side, side)).flatten(1)
        seen = (flat - (1 - sigma) * self.mean) @ self.basis
        variance = (1 - sigma).square() * self.variances + sigma.square()
        residual = self.residual(seen * variance.rsqrt(), sigma, text)
        guess = (1 - sigma) * self.variances / variance * seen
        found = guess + (self.variances / variance).sqrt() * sigma * residual
        velocity: Tensor = (flat - self.mean - found @ self.basis.T) / sigma
        return _resampled(velocity.reshape(-1, noisy.shape[1], side, side), noisy.shape[2:])

    def residual(self, x: Tensor, sigma: Tensor, text: Tensor) -> Tensor:
        """What the network itself gives (B, components), of ``x`` (B, components) at unit variance."""
        weights = self.weigh(text).softmax(1)
        pooled = self.pooled((weights.transpose(1, 2) @ text).flatten(1))
        hidden = F.silu(pooled + self.time(_waves(sigma)))
        condition = F.silu(self.condition(hidden))
        y = self.enter(x)
        for block in self.blocks:
            y = block(y, condition)
        made: Tensor = self.leave(F.layer_norm(y, (self.config.width,))) + self.direct(hidden)
        return made

    def loss_weights(self, timesteps: Tensor) -> Tensor:
        """(B,): one over the mean squared error of the velocity of the best linear guess."""
        sigma = _sigmas(timesteps)
        error = self.variances / ((1 - sigma).square() * self.variances + sigma.square())
        return self.mean.shape[0] / error.sum(1)


def _resampled(x: Tensor, size: Sequence[int]) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)


def _sigmas(timesteps: Tensor) -> Tensor:
    """(B, 1), away from both ends."""
    return (timesteps.float() / 1000).clamp(_LEAST_SIGMA, _MOST_SIGMA)[:, None]


def _waves(sigma: Tensor) -> Tensor:
    """(B, 128): cosines and sines of the logarithm of signal to noise, of ``sigma`` (B, 1)."""
    rates = 3 * torch.exp(-math.log(1000) * torch.arange(_FREQUENCIES, device=sigma.device) / _FREQUENCIES)
    angles = torch.log(sigma / (1 - sigma)) * rates
    return torch.cat([angles.cos(), angles.sin()], 1)
