"""What a picture is like, in numbers: the five statistics of D-010, and those that tell how far it was degraded.

One implementation, used to train the models and to serve them. Statistics of content (edges, corners, colours) are
taken on the picture reduced to 512 px, so that they compare between sizes; statistics of degradation (noise, JPEG
blocks, width of edges) on pixels at their own scale, from tiles where the picture is large. Transparent pictures are
laid on white; edges of the alpha channel count as edges.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.compare import composite

Rgba = npt.NDArray[np.uint8]
Gray = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]

WORKING_SIDE_PX = 512
THUMBNAIL_PX = 128
PATCH_PX = 64
STATISTICS = 13
"""Length of `Features.to_vector`, the engine input ``statistics``."""

_CANNY = (60, 160)  # thresholds on the L1 Sobel sum of 8-bit grey
_EDGE_STEP = 24  # a central difference from which a pixel lies on an edge, in 8-bit steps
_HARRIS_FLOOR = 1e-6  # no corner at all: under the response of one step of 8 bits
_TILE_PX = 128
_TILES = 4


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
        """Shape (STATISTICS,), each squeezed to about [0, 1]."""
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
    small = _reduced(rgba, WORKING_SIDE_PX)
    flat = composite(small)
    gray, alpha = _padded(cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY)), _padded(cv2.extractChannel(small, 3))
    gx, gy = cv2.Sobel(gray, cv2.CV_16S, 1, 0), cv2.Sobel(gray, cv2.CV_16S, 0, 1)
    native = gray if small is rgba else _padded(_native_sample(rgba))
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
    return {"pixels": _thumbnail(rgba), "detail": _detail(rgba), "statistics": found.to_vector()}


def _reduced(rgba: Rgba, side: int) -> Rgba:
    """``rgba`` itself, or its area average with a longer side of ``side``."""
    height, width = rgba.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return rgba
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    seen = _on_white(rgba)
    if scale < 0.25:  # a whole factor first: the general area average is slow
        factor = int(0.5 / scale)
        seen = cv2.resize(seen, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_AREA)
    reduced: Rgba = cv2.resize(seen, size, interpolation=cv2.INTER_AREA)
    return reduced


def _on_white(rgba: Rgba) -> Rgba:
    """Colours as seen on white, alpha kept: safe to average."""
    alpha = cv2.extractChannel(rgba, 3)
    if alpha.min() == 255:
        return rgba
    seen: Rgba = cv2.merge([*cv2.split(composite(rgba)), alpha])
    return seen


def _padded(plane: Gray) -> Gray:
    """At least 8 x 8, continued by the edge pixels: the filters below need some room."""
    below, right = max(0, 8 - plane.shape[0]), max(0, 8 - plane.shape[1])
    return np.pad(plane, ((0, below), (0, right)), mode="edge") if below or right else plane


def _native_sample(rgba: Rgba) -> Gray:
    """Grey of up to 4 x 4 tiles of 128 px, spread evenly and aligned to JPEG's grid, as one mosaic."""
    height, width = rgba.shape[:2]
    rows, columns = _tile_starts(height), _tile_starts(width)
    strips = [
        np.hstack([composite(rgba[y : y + _TILE_PX, x : x + _TILE_PX]) for x in columns])
        for y in rows
    ]  # fmt: skip
    gray: Gray = cv2.cvtColor(np.vstack(strips), cv2.COLOR_RGB2GRAY)
    return gray


def _tile_starts(length: int) -> list[int]:
    if length <= _TILE_PX:
        return [0]
    count = min(_TILES, length // _TILE_PX)
    last = (length - _TILE_PX) // 8 * 8
    return [round(last * i / max(1, count - 1)) // 8 * 8 for i in range(count)]


def _edge_density(gx: npt.NDArray[np.int16], gy: npt.NDArray[np.int16], alpha: Gray) -> float:
    edges = cv2.Canny(gx, gy, *_CANNY)
    if alpha.min() < 255:
        edges = edges | cv2.Canny(alpha, *_CANNY)
    return float(np.mean(edges > 0))


def _unique_colors(flat: npt.NDArray[np.uint8], alpha: Gray) -> float:
    """Pixels of a flat area only: those that equal both their right and their lower neighbour at 5 bits."""
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
    local_range = _local_range(gray, 3)
    noise = _noise(gray, local_range < _EDGE_STEP)
    return noise, (_blockiness(gray) + _blockiness(gray.T)) / 2, _edge_width(gray)


def _local_range(gray: Gray, size: int) -> Gray:
    kernel = np.ones((size, size), np.uint8)
    found: Gray = cv2.subtract(cv2.dilate(gray, kernel), cv2.erode(gray, kernel))
    return found


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
    return float(np.median(2.0 * _local_range(gray, 7)[ridge] / step[ridge]))


def _smooth_share(gray: Gray) -> float:
    spread = _local_range(gray, 5)
    return float(np.mean((spread > 0) & (spread < _EDGE_STEP)))


def _thumbnail(rgba: Rgba) -> npt.NDArray[np.uint8]:
    """Letterboxed to 128 x 128; a smaller picture is not enlarged, for its scale is telling."""
    small = _on_white(_reduced(rgba, THUMBNAIL_PX))
    frame = np.full((THUMBNAIL_PX, THUMBNAIL_PX, 4), (255, 255, 255, 0), np.uint8)
    top, left = (THUMBNAIL_PX - small.shape[0]) // 2, (THUMBNAIL_PX - small.shape[1]) // 2
    frame[top : top + small.shape[0], left : left + small.shape[1]] = small
    return frame


def _detail(rgba: Rgba) -> npt.NDArray[np.uint8]:
    """A 2 x 2 mosaic of the 64 px cells with the most gradient energy, in reading order of their rank."""
    height, width = rgba.shape[:2]
    below, right = max(0, PATCH_PX - height), max(0, PATCH_PX - width)
    if below or right:
        rgba = np.pad(rgba, ((0, below), (0, right), (0, 0)), mode="edge")
    rows, columns = _cells(rgba.shape[0]), _cells(rgba.shape[1])
    energy = _energy(rgba)
    cells = [(y, x) for y in rows for x in columns]
    scores = [int(energy[y : y + PATCH_PX, x : x + PATCH_PX].sum(dtype=np.int64)) for y, x in cells]
    best = sorted(range(len(cells)), key=lambda i: (-scores[i], i))[:4]
    best += best[:1] * (4 - len(best))
    patches = [_on_white(rgba[y : y + PATCH_PX, x : x + PATCH_PX]) for y, x in (cells[i] for i in best)]
    return np.vstack([np.hstack(patches[:2]), np.hstack(patches[2:])])


def _cells(length: int) -> list[int]:
    """Starts of the fewest 64 px cells that cover ``length``, spread evenly."""
    count = math.ceil(length / PATCH_PX)
    return [round((length - PATCH_PX) * i / max(1, count - 1)) for i in range(count)]


def _energy(rgba: Rgba) -> npt.NDArray[np.uint8]:
    """Largest neighbour step of luma on white and of alpha, in 8-bit steps."""
    planes = [cv2.cvtColor(composite(rgba), cv2.COLOR_RGB2GRAY)]
    if rgba[..., 3].min() < 255:
        planes.append(cv2.extractChannel(rgba, 3))
    steps = [_local_range(plane, 2) for plane in planes]
    return steps[0] if len(steps) == 1 else np.maximum(steps[0], steps[1])
