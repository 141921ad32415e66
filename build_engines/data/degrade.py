"""What happens to a picture on its way to a user: compression, scaling, noise. Seeded and named."""

from __future__ import annotations

import io
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from serve.vector import compare

Rgba = npt.NDArray[np.uint8]
Condition = Literal["clean", "jpeg95", "jpeg90", "jpeg80", "jpeg70", "jpeg60", "blurred", "resized", "noisy"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)


def is_opaque(condition: Condition) -> bool:
    """JPEG has no alpha channel, so those conditions need an opaque background."""
    return condition.startswith("jpeg")


def render_degraded(svg: str, width: int, height: int, condition: Condition, seed: int) -> Rgba:
    """``svg`` at ``width`` x ``height`` pixels as a user's file would hold it; RGBA with straight alpha.

    ``jpegNN``: Pillow's JPEG at quality NN with 4:2:0 chroma. ``blurred``: rendered at half the size and enlarged
    with bicubic interpolation. ``resized``: rendered 1.3 to 2.6 times larger and reduced with Lanczos.
    ``noisy``: Gaussian noise with a standard deviation of 3 to 9 in 8-bit steps, on the colours only.
    """
    rng = np.random.default_rng(seed)
    if condition.startswith("jpeg"):
        return _jpeg(compare.render(svg, width, height), int(condition[4:]))
    if condition == "blurred":
        small = compare.render(svg, max(8, width // 2), max(8, height // 2))
        return resize(small, width, height, Image.Resampling.BICUBIC)
    if condition == "resized":
        factor = rng.uniform(1.3, 2.6)
        large = compare.render(svg, round(width * factor), round(height * factor))
        return resize(large, width, height, Image.Resampling.LANCZOS)
    if condition == "noisy":
        return _noisy(compare.render(svg, width, height), rng)
    return compare.render(svg, width, height)


def resize(rgba: Rgba, width: int, height: int, method: Image.Resampling) -> Rgba:
    """Resizing with premultiplied alpha, as browsers and editors do it."""
    image = Image.fromarray(rgba, "RGBA").convert("RGBa").resize((width, height), method)
    return np.array(image.convert("RGBA"))


def _jpeg(rgba: Rgba, quality: int) -> Rgba:
    buffer = io.BytesIO()
    Image.fromarray(compare.composite(rgba)).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(buffer).convert("RGBA"))


def _noisy(rgba: Rgba, rng: np.random.Generator) -> Rgba:
    sigma = rng.uniform(3.0, 9.0)
    noise = rng.normal(0.0, sigma, (*rgba.shape[:2], 3)).astype(np.float32)
    out = rgba.copy()
    out[..., :3] = np.clip(rgba[..., :3] + noise, 0, 255).round().astype(np.uint8)
    return out
