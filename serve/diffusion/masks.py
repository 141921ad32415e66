"""Masks over latents: which latents an inpainting draws anew, and from which evaluation on.

A mask is 1 where a picture is drawn anew and 0 where it is kept. A value between them is a strength of its own: that
share of the evaluations is done (Levin and Fried 2023, "Differential Diffusion"). For masks of 0 and 1 this is the
blending of diffusers' inpainting pipelines.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

_TOLERANCE = 1e-4
"""Of a mean over 8-bit levels."""


def latent_mask(mask: Bytes, downsample: int) -> Floats:
    """Shape (H / downsample, W / downsample), 0 to 1: the mean over the pixels (H, W) of each latent."""
    height, width = mask.shape[0] // downsample, mask.shape[1] // downsample
    blocks = mask[: height * downsample, : width * downsample].reshape(height, downsample, width, downsample)
    means: Floats = (blocks.mean(axis=(1, 3), dtype=np.float64) / 255.0).astype(np.float32)
    return means


def positions(mask: Bytes, grid: tuple[int, int]) -> Floats:
    """``mask`` (H, W) over the positions of ``grid`` (rows, columns), row by row: bicubic, sampled at their centres, as
    ``torch.nn.functional.interpolate`` does it."""
    import cv2

    rows, columns = grid
    found = cv2.resize(mask.astype(np.float32) / 255, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return np.asarray(found, np.float32).reshape(-1)


def is_drawn(mask: Floats, done: int, evaluations: int) -> npt.NDArray[np.bool_]:
    """Where the sample is free after ``done`` of ``evaluations``; elsewhere it is the input picture with noise."""
    remaining = max(evaluations - done, 1) / evaluations
    free: npt.NDArray[np.bool_] = mask >= remaining - _TOLERANCE
    return free


def blend(sample: Floats, kept: Floats, free: npt.NDArray[np.bool_]) -> Floats:
    """``sample`` where ``free``, else ``kept``, the input's latents at the same level of noise; both (C, h, w)."""
    return np.where(free[None], sample, kept)


def filled_latents(latents: Floats, mask: Floats, noise: Floats | None) -> Floats:
    """``latents`` (C, h, w) with ``noise``, or zeros, where ``mask`` (h, w) is 1."""
    filling = np.zeros_like(latents) if noise is None else noise
    return np.asarray(latents * (1.0 - mask) + filling * mask, np.float32)


def inpainting_channels(mask: Floats, masked: Floats) -> Floats:
    """The channels (1 + C, h, w) that the UNet of an inpainting checkpoint takes after the sample's: the mask of 0
    and 1, and the latents of the picture whose pixels under the mask are grey."""
    return np.concatenate([np.round(mask)[None].astype(np.float32), masked])
