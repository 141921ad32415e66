"""How close an SVG comes to a picture: rendering with resvg, SSIM and mean squared error.

SSIM is Wang et al., "Image quality assessment: from error visibility to structural similarity" (2004), in the variant
of scikit-image's ``structural_similarity(win_size=7, channel_axis=2, data_range=255)``: a 7x7 uniform window, sample
covariances, the mean over channels and over the pixels whose window lies inside the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numba as nb
import numpy as np
import numpy.typing as npt

from serve.vector.svg import to_png

Rgb = npt.NDArray[np.uint8]
Rgba = npt.NDArray[np.uint8]
Row = npt.NDArray[np.uint8]
Sums = npt.NDArray[np.float32]

WHITE = (255, 255, 255)
BLACK = (0, 0, 0)
WINDOW = 7
EXACT = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)
"""The constants of the paper."""
LENIENT = (60.0, 600.0)
"""For references with noise: residual noise in flat areas has little effect."""


@dataclass(frozen=True)
class Fidelity:
    """``ssim`` at most 1 (equal); ``mse`` the mean squared channel error with channels in [0, 1]."""

    ssim: float
    mse: float


def render(svg: str, width: int, height: int) -> Rgba:
    """``svg`` rendered as straight-alpha RGBA, shape (height, width, 4), filling the whole size. Raises as
    ``to_png``."""
    png = np.frombuffer(to_png(svg, width, height), np.uint8)
    pixels = cv2.imdecode(png, cv2.IMREAD_UNCHANGED)
    drawn: Rgba = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)
    return drawn


def composite(rgba: Rgba, background: tuple[int, int, int] = WHITE) -> Rgb:
    """``rgba`` (straight alpha) composited on ``background``: shape (H, W, 3), rounded."""
    if cv2.extractChannel(rgba, 3).min() == 255:
        opaque: Rgb = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
        return opaque
    laid: Rgb = _composite(np.ascontiguousarray(rgba), np.asarray(background, np.int32))
    return laid


def mse(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """Mean squared difference of two 8-bit arrays of one shape, channels in [0, 1]."""
    return float(cv2.norm(a, b, cv2.NORM_L2SQR)) / (a.size * 255.0**2)


def ssim(a: Rgb, b: Rgb, constants: tuple[float, float] = EXACT) -> float:
    """Mean SSIM of two pictures of shape (H, W, 3). Sides below 7 px are padded with edge pixels.

    ``constants``: C1 and C2 of the formula, which suppress invisible differences.
    """
    height, width = a.shape[:2]
    if min(height, width) < WINDOW:
        beyond = ((0, max(0, WINDOW - height)), (0, max(0, WINDOW - width)), (0, 0))
        a, b = np.pad(a, beyond, mode="edge"), np.pad(b, beyond, mode="edge")
    return float(_ssim(np.ascontiguousarray(a), np.ascontiguousarray(b), *map(np.float32, constants)))


@nb.njit(cache=True)
def _composite(rgba: Rgba, background: npt.NDArray[np.int32]) -> Rgb:
    height, width, _ = rgba.shape
    laid = np.empty((height, width, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            alpha = np.int32(rgba[y, x, 3])
            for c in range(3):
                laid[y, x, c] = (np.int32(rgba[y, x, c]) * alpha + background[c] * (255 - alpha) + 127) // 255
    return laid


@nb.njit(cache=True)
def _ssim(a: Rgb, b: Rgb, c1: np.float32, c2: np.float32) -> float:
    """One pass over the pixels with window sums per column, moved down row by row.

    The values, centred on 128, are small integers whose sums float32 holds exactly (all under 2^24), and float32 loops
    are what the compiler turns into SIMD.
    """
    height, width, channels = a.shape
    row = width * channels
    first, second = a.reshape(height, row), b.reshape(height, row)
    sums = np.zeros((5, row), np.float32)  # a, b, a², b², ab over the last seven rows
    scores = np.empty(row - (WINDOW - 1) * channels, np.float32)
    total = 0.0
    for y in range(height):
        _add_row(sums, first[y], second[y], np.float32(1))
        if y >= WINDOW:
            _add_row(sums, first[y - WINDOW], second[y - WINDOW], np.float32(-1))
        if y >= WINDOW - 1:
            _score_row(sums, channels, c1, c2, scores)
            for x in range(scores.size):
                total += scores[x]
    return total / (scores.size * (height - WINDOW + 1))


@nb.njit(cache=True)
def _add_row(sums: Sums, a: Row, b: Row, sign: np.float32) -> None:
    middle = np.float32(128)
    for x in range(a.size):
        p, q = np.float32(a[x]) - middle, np.float32(b[x]) - middle
        sums[0, x] += sign * p
        sums[1, x] += sign * q
        sums[2, x] += sign * p * p
        sums[3, x] += sign * q * q
        sums[4, x] += sign * p * q


@nb.njit(cache=True)
def _score_row(sums: Sums, channels: int, c1: np.float32, c2: np.float32, scores: npt.NDArray[np.float32]) -> None:
    n, two, middle = np.float32(WINDOW * WINDOW), np.float32(2), np.float32(128)
    unit = np.float32(1) / n
    sample = unit / (n - np.float32(1))
    for x in range(scores.size):
        sa = sb = saa = sbb = sab = np.float32(0)
        for k in range(WINDOW):
            at = x + k * channels
            sa += sums[0, at]
            sb += sums[1, at]
            saa += sums[2, at]
            sbb += sums[3, at]
            sab += sums[4, at]
        ma, mb = sa * unit + middle, sb * unit + middle
        variances = ((n * saa - sa * sa) + (n * sbb - sb * sb)) * sample
        covariance = (n * sab - sa * sb) * sample
        scores[x] = ((two * ma * mb + c1) * (two * covariance + c2)) / ((ma * ma + mb * mb + c1) * (variances + c2))


class Reference:
    """A picture prepared for comparison with many SVGs.

    Compared on white; with transparency, the mean over white and black backgrounds, so that filled transparency counts.
    """

    def __init__(self, rgba: Rgba, constants: tuple[float, float] = EXACT) -> None:
        self._constants = constants
        self._backgrounds = (WHITE,) if rgba[..., 3].min() == 255 else (WHITE, BLACK)
        self._height, self._width = rgba.shape[:2]
        self._pictures = [composite(rgba, background) for background in self._backgrounds]

    def fidelity(self, svg: str) -> Fidelity:
        return self.compare(render(svg, self._width, self._height))

    def compare(self, drawn: Rgba) -> Fidelity:
        """Fidelity of ``drawn``, which has the picture's size."""
        laid = [composite(drawn, background) for background in self._backgrounds]
        pairs = list(zip(self._pictures, laid, strict=True))
        return Fidelity(
            ssim=math.fsum(ssim(a, b, self._constants) for a, b in pairs) / len(pairs),
            mse=math.fsum(mse(a, b) for a, b in pairs) / len(pairs),
        )


def fidelity(rgba: Rgba, svg: str) -> Fidelity:
    """Fidelity of ``svg`` to ``rgba`` (shape (H, W, 4)); `Reference` is faster for several SVGs."""
    return Reference(rgba).fidelity(svg)


def warm() -> None:
    """Load (or, the first time on a machine, compile) the kernels."""
    tiny = np.zeros((WINDOW, WINDOW, 4), np.uint8)
    ssim(composite(tiny), composite(tiny))
