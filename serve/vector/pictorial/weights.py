"""What a squared difference at a pixel costs in SSIM: more where the picture is even, less in its textures."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.compare import EXACT, WINDOW

Rgb = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def tree_inputs(rgb: Rgb) -> tuple[Floats, Floats, Floats]:
    """(colours (H, W, 3), weights (H, W), chroma (H, W, 2)) for `merging.merge`.

    SSIM of a window is about 1 - d² / (2 s² + C2), where d² is the mean squared difference and s² the variance. A
    pixel's weight is the mean over the windows that it lies in.
    """
    colors = rgb.astype(np.float32)
    window = (WINDOW, WINDOW)
    mean = cv2.blur(colors, window)
    variance = np.maximum(cv2.blur(colors * colors, window) - mean * mean, 0) @ np.full(3, 1 / 3, np.float32)
    weights = cv2.blur(1 / (2 * variance + np.float32(EXACT[1])), window)
    chroma = np.ascontiguousarray(colors[..., ::2] - (colors @ LUMA)[..., None])
    return colors, weights, chroma
