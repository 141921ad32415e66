"""Pictures made unrecognisable, and still pictures: their colours and where they are remain."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from serve.ensembles.illustrator.illustration import Pixels

CELLS = 12
"""Along the longer side: what is smaller is gone for good, no sharpening brings it back."""


def blurred(pixels: Pixels) -> Pixels:
    """Of the same shape, (height, width, 3): means of cells, with soft edges between them."""
    image = Image.fromarray(pixels)
    cell = max(1.0, max(image.size) / CELLS)
    small = image.resize([max(1, round(side / cell)) for side in image.size], Image.Resampling.BOX)
    soft = small.resize(image.size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(cell / 2))
    return np.asarray(soft)
