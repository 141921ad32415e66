"""Small saturated areas of noisy pictures keep their hue."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from serve.ensembles.vectorizer.candidates import fixed_parameters
from serve.vector.compare import composite, render
from serve.vector.coverage.palette import oklab
from serve.vector.features import extract
from serve.vector.trace import trace

SPOTS = (("#3fae49", 90, 110), ("#2e9cdb", 166, 110), ("#e0457b", 128, 150))
MOST_OKLAB = 0.05
"""Between a spot and its own colour; blue and green are 0.2 apart."""


@pytest.mark.parametrize(("radius", "quality", "sampling"), [(6, 75, 0), (4, 90, 2), (4, 75, 2), (4, 60, 2)])
def test_eyes_of_a_brown_cat_keep_their_hues(radius: int, quality: int, sampling: int) -> None:
    eyes = "".join(f'<circle fill="{color}" cx="{x}" cy="{y}" r="{radius}"/>' for color, x, y in SPOTS)
    head = '<path fill="#7a4e2d" d="M50 60l30 30q48-24 96 0l30-30q10 60 0 90q-30 70-78 70t-78-70q-10-30 0-90z"/>'
    ground = '<path fill="#f4efe6" d="M0 0h256v256H0z"/>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 256 256">{ground}{head}{eyes}</svg>'
    clean, buffer = render(svg, 256, 256), io.BytesIO()
    Image.fromarray(composite(clean)).save(buffer, "JPEG", quality=quality, subsampling=sampling)
    picture = np.array(Image.open(buffer).convert("RGBA"))
    drawn = render(trace(picture, fixed_parameters(extract(picture))), 256, 256)
    for _, x, y in SPOTS:
        middle = np.s_[y - radius + 1 : y + radius - 1, x - radius + 1 : x + radius - 1]
        own, traced = (oklab(one[middle][..., :3].astype(np.float32)).mean((0, 1)) for one in (clean, drawn))
        assert np.linalg.norm(own - traced) < MOST_OKLAB
