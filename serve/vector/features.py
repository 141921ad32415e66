"""What a picture is like, in numbers: the five statistics of D-010, and those that tell how far it was degraded.

One implementation, used to train the models and to serve them. Statistics of content (edges, corners, colours) are
taken on the picture reduced to 512 px, so that they compare between sizes; statistics of degradation (noise, JPEG
blocks, width of edges) on pixels at their own scale, from tiles where the picture is large. Transparent pictures are
laid on white; edges of the alpha channel count as edges.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.compare import composite
from serve.vector.views import continued, detail, local_range, native_sample, reduced, thumbnail

Rgba = npt.NDArray[np.uint8]
Gray = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]

WORKING_SIDE_PX = 512
STATISTICS = 13
"""Length of `Features.to_vector`, the engine input ``statistics``."""

_CANNY = (60, 160)  # thresholds on the L1 Sobel sum of 8-bit grey
_EDGE_STEP = 24  # a central difference from which a pixel lies on an edge, in 8-bit steps
_HARRIS_FLOOR = 1e-6  # no corner at all: under the response of one step of 8 bits


@dataclass(frozen=True)
class Features:
    """All of a picture's statistics. Shares are of its pixels, from 0 to 1.

    ``edge_density``         share on a Canny edge of grey or alpha
    ``unique_colors``        colours of flat areas, at 5 bits a channel, that fill at least 0.1 % each
    ``entropy``              Shannon entropy of the grey histogram, in bits, 0 to 8
    ``corner_density``       share where the Harris corner response is over 1 % of its strongest (Harris, Stephens 1988)
    ``gradient_strength``    mean Sobel gradient, 1 being a full black-white step everywhere
    ``noise``                standard deviation of noise off the edges, in 8-bit steps (Immerkaer 1996)
    ``blockiness``           how much stronger small steps are on the 8 x 8 grid of JPEG than off it, 0 to 1
    ``edge_width``           median width of an edge in pixels: about 2 is sharp, from 4 on blurred
    ``alpha_share``          share that is not opaque
    ``soft_alpha_share``     share that is neither opaque nor invisible
    ``smooth_share``         share where colour changes slowly: gradients, photographs, noise
    ``log2_width``, ``log2_height``   of the size in pixels
    """

    edge_density: float
    unique_colors: float
    entropy: float
    corner_density: float
    gradient_strength: float
    noise: float
    blockiness: float
    edge_width: float
    alpha_share: float
    soft_alpha_share: float
    smooth_share: float
    log2_width: float
    log2_height: float

    def to_vector(self) -> npt.NDArray[np.float32]:
        """Shape (STATISTICS,), each scaled to about [0, 1]."""
        v = Features(*(max(0.0, float(x)) for x in astuple(self)))
        return np.array(
            [
                math.sqrt(v.edge_density),
                math.log2(1 + v.unique_colors) / 8,
                v.entropy / 8,
                math.sqrt(v.corner_density * 10),
                math.sqrt(v.gradient_strength),
                math.sqrt(v.noise / 5),
                v.blockiness,
                v.edge_width / 8,
                v.alpha_share,
                math.sqrt(v.soft_alpha_share),
                v.smooth_share,
                v.log2_width / 12,
                v.log2_height / 12,
            ],
            np.float32,
        )


def extract(rgba: Rgba) -> Features:
    """The statistics of ``rgba``: shape (H, W, 4), straight alpha, at least 1 x 1."""
    height, width = rgba.shape[:2]
    small = reduced(rgba, WORKING_SIDE_PX)
    flat = composite(small)
    gray, alpha = _padded(cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY)), _padded(cv2.extractChannel(small, 3))
    gx, gy = cv2.Sobel(gray, cv2.CV_16S, 1, 0), cv2.Sobel(gray, cv2.CV_16S, 0, 1)
    native = gray if small is rgba else _padded(native_sample(rgba))
    noise, blockiness, edge_width = _degradation(native)
    levels = cv2.calcHist([rgba], [3], None, [256], [0, 256]).ravel() / (height * width)
    opaque, invisible = float(levels[255]), float(levels[0])
    return Features(
        edge_density=_edge_density(gx, gy, alpha),
        unique_colors=_unique_colors(flat, small[..., 3]),
        entropy=_entropy(gray),
        corner_density=_corner_density(gray),
        gradient_strength=float(np.mean(cv2.magnitude(gx.astype(np.float32), gy.astype(np.float32)))) / (4 * 255),
        noise=noise,
        blockiness=blockiness,
        edge_width=edge_width,
        alpha_share=1.0 - opaque,
        soft_alpha_share=max(0.0, 1.0 - opaque - invisible),
        smooth_share=_smooth_share(native),
        log2_width=math.log2(width),
        log2_height=math.log2(height),
    )


def network_input(rgba: Rgba, features: Features | None = None) -> dict[str, npt.NDArray[Any]]:
    """The inputs of the `image_features` engine for one picture, without the batch axis.

    ``pixels`` uint8 (128, 128, 4): the whole picture, reduced by area to fit, centred, on a border of alpha 0.
    ``detail`` uint8 (128, 128, 4): the four 64 x 64 patches with the most gradient, at their own scale.
    Colours of both are those on white, so that what lies under alpha 0 cannot matter.
    ``statistics`` float32 (STATISTICS,): `Features.to_vector`; ``features`` saves extracting them again.
    """
    found = features if features is not None else extract(rgba)
    return {"pixels": thumbnail(rgba), "detail": detail(rgba), "statistics": found.to_vector()}


def _padded(plane: Gray) -> Gray:
    """Pad to the minimum size of the filters below."""
    return continued(plane, 8)


def _edge_density(gx: npt.NDArray[np.int16], gy: npt.NDArray[np.int16], alpha: Gray) -> float:
    edges = cv2.Canny(gx, gy, *_CANNY)
    if alpha.min() < 255:
        edges = edges | cv2.Canny(alpha, *_CANNY)
    return float(np.mean(edges > 0))


def _unique_colors(flat: npt.NDArray[np.uint8], alpha: Gray) -> float:
    """Share of unique colours in flat areas: pixels equal to their right and lower neighbour at 5 bits."""
    packed = _pack(flat)
    keep = alpha >= 128
    if min(packed.shape) > 1:
        keep[:, :-1] &= packed[:, :-1] == packed[:, 1:]
        keep[:-1] &= packed[:-1] == packed[1:]
    counts = np.bincount(packed[keep], minlength=1 << 15)
    return float(np.count_nonzero(counts >= max(4, flat.shape[0] * flat.shape[1] / 1000)))


def _pack(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    high = (rgb >> 3).astype(np.int32)
    packed: npt.NDArray[np.int32] = high[..., 0] << 10 | high[..., 1] << 5 | high[..., 2]
    return packed


def _entropy(gray: Gray) -> float:
    share = np.bincount(gray.ravel(), minlength=256) / gray.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def _corner_density(gray: Gray) -> float:
    response = cv2.cornerHarris(gray, 2, 3, 0.04)
    strongest = float(response.max())
    return float(np.mean(response > 0.01 * strongest)) if strongest > _HARRIS_FLOOR else 0.0


def _degradation(gray: Gray) -> tuple[float, float, float]:
    """(noise, blockiness, edge_width) of grey pixels at their own scale."""
    noise = _noise(gray, local_range(gray, 3) < _EDGE_STEP)
    return noise, (_blockiness(gray) + _blockiness(gray.T)) / 2, _edge_width(gray)


def _noise(gray: Gray, calm: npt.NDArray[np.bool_]) -> float:
    """Immerkaer, "Fast noise variance estimation" (1996), over the pixels off the edges."""
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = np.abs(cv2.filter2D(gray, cv2.CV_32F, mask)[calm])
    if response.size < 16:
        return 0.0
    return float(np.mean(response)) * math.sqrt(math.pi / 2) / 6


def _blockiness(gray: npt.NDArray[np.uint8]) -> float:
    """Mean small step across every eighth column against the steps between: (on - off) / (on + off)."""
    if gray.shape[1] < 24:
        return 0.0
    step = cv2.absdiff(np.ascontiguousarray(gray[:, 1:]), np.ascontiguousarray(gray[:, :-1]))
    by_column = np.where(step <= 12, step, 0).mean(axis=0, dtype=np.float64)
    on_grid = np.arange(by_column.size) % 8 == 7
    on, off = float(by_column[on_grid].mean()), float(by_column[~on_grid].mean())
    return max(0.0, (on - off) / (on + off + 0.05))


def _edge_width(gray: Gray) -> float:
    """Median over edge pixels of (range in 7 x 7) / (steepest step in 3 x 3); 0 when there is no edge."""
    across = cv2.Sobel(gray, cv2.CV_16S, 1, 0, ksize=1)
    down = cv2.Sobel(gray, cv2.CV_16S, 0, 1, ksize=1)
    step = np.maximum(np.abs(across), np.abs(down)).astype(np.uint16)
    ridge = (step >= _EDGE_STEP) & (step == cv2.dilate(step, np.ones((3, 3), np.uint8)))
    if not ridge.any():
        return 0.0
    return float(np.median(2.0 * local_range(gray, 7)[ridge] / step[ridge]))


def _smooth_share(gray: Gray) -> float:
    spread = local_range(gray, 5)
    return float(np.mean((spread > 0) & (spread < _EDGE_STEP)))


LogoType = Literal["simple", "text", "gradient", "complex"]
LOGO_TYPES: tuple[LogoType, ...] = ("simple", "text", "gradient", "complex")
"""The order of the `logo_type` engine's probabilities."""

_SIMPLE_EDGE_DENSITY = 0.05
_SIMPLE_COLORS = 8
_TEXT_CORNER_DENSITY = 0.01
_GRADIENT_SMOOTH_SHARE = 0.15
_NOISE = 1.0  # above it slow changes are noise, not a gradient

# Found on 120 icons of the `val` split, clean, resized, blurred and as JPEG of quality 90 and 70: the first tells 96 %
# of the pictures right, the second all of those that are not JPEGs.
_NOISE_PER_EDGE = 4.7
_BLURRED_EDGE_PX = 2.4


Degradation = Literal["none", "noisy", "blurred"]


def degradation(features: Features) -> Degradation:
    """``noisy``: more noise (mostly JPEG's) than the edges explain; ``blurred``: wide edges."""
    if features.noise > _NOISE_PER_EDGE * (features.edge_density + 1e-3):
        return "noisy"
    return "blurred" if features.edge_width > _BLURRED_EDGE_PX else "none"


def classify(features: Features) -> tuple[LogoType, float]:
    """(logo type, confidence in [0, 1]) of a picture with these ``features``.

    The first two rules and their confidences are D-012's. The others recognise gradients by the share of slowly
    changing pixels and leave the rest as complex; their confidences are lower, since they are not calibrated.
    """
    gradient = features.smooth_share > _GRADIENT_SMOOTH_SHARE and features.noise < _NOISE
    few = features.edge_density < _SIMPLE_EDGE_DENSITY and features.unique_colors < _SIMPLE_COLORS
    if few and not gradient:
        return "simple", 0.9
    if features.corner_density > _TEXT_CORNER_DENSITY and not gradient:
        return "text", 0.8
    if gradient:
        return "gradient", 0.7
    return "complex", 0.6
