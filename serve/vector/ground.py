"""Removes a plain ground: what the border's one colour reaches becomes transparent, with soft edges."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

PLAIN_SHARE = 0.9
"""Of the border's pixels that have the ground's colour; below it the ground is not plain."""
TOLERANCE = 20.0
"""Distance in 8-bit RGB up to which a colour is that of the ground; JPEG leaves about half of it."""
_EDGE_PX = 2
"""Width of the edge whose pixels may be a mixture of subject and ground."""


def without_plain_ground(rgb: Pixels) -> Pixels | None:
    """``rgb`` (H, W, 3) as RGBA without its ground; None where the ground is not plain, or nothing else is there."""
    pixels = rgb.astype(np.float32)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    ground = np.median(border, axis=0)
    if (np.linalg.norm(border - ground, axis=1) <= TOLERANCE).mean() < PLAIN_SHARE:
        return None
    distance = np.linalg.norm(pixels - ground, axis=2)
    _, labels = cv2.connectedComponents((distance <= TOLERANCE).astype(np.uint8), connectivity=4)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    outside = np.isin(labels, np.setdiff1d(np.unique(edge), [0]))
    if outside.all():
        return None
    inside = (~outside).astype(np.uint8)
    kernel = np.ones((2 * _EDGE_PX + 1, 2 * _EDGE_PX + 1), np.uint8)
    soft = (cv2.dilate(outside.astype(np.uint8), kernel) > 0) & ~outside
    nearest = cv2.dilate(distance.astype(np.float32) * inside, kernel)  # the subject's own contrast, close by
    alpha = np.where(outside, 0.0, 1.0)
    alpha[soft] = np.clip(distance[soft] / np.maximum(nearest[soft], TOLERANCE), 0.0, 1.0)
    share = np.maximum(alpha, 1.0 / 255.0)[..., None]
    colours = np.where(soft[..., None], (pixels - (1.0 - share) * ground) / share, pixels)
    colours = np.where(outside[..., None], ground, colours)
    rgba = np.concatenate([colours, alpha[..., None] * 255.0], axis=2)
    found: Pixels = rgba.round().clip(0, 255).astype(np.uint8)
    return found
