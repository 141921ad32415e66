"""Icons drawn here, so that tests of training need no package of icons."""

from __future__ import annotations

import numpy as np

from build_engines.data.icons import Icon

GRADIENT = (
    '<defs><linearGradient id="g"><stop offset="0" stop-color="#e11"/><stop offset="1" stop-color="#11e"/>'
    '</linearGradient></defs><rect x="4" y="4" width="56" height="56" fill="url(#g)"/>'
)


def simple(seed: int) -> Icon:
    red, x, y, radius = np.random.default_rng(seed).integers((0, 20, 20, 8), (255, 44, 44, 20))
    body = f'<circle cx="{x}" cy="{y}" r="{radius}" fill="#{red:02x}3070"/>'
    return Icon("flat-color-icons", f"simple-{seed}", body, (0, 0, 64, 64))


def gradient(seed: int) -> Icon:
    return Icon("logos", f"gradient-{seed}", GRADIENT, (0, 0, 64, 64))


def complex_(seed: int) -> Icon:
    rng = np.random.default_rng(seed)
    cells = [
        f'<rect x="{16 * x + 2}" y="{16 * y + 2}" width="12" height="12" fill="#{c:06x}"/>'
        for (x, y), c in zip(np.ndindex(4, 4), rng.integers(0, 0xD0D0D0, 16), strict=True)
    ]
    return Icon("noto", f"complex-{seed}", "".join(cells), (0, 0, 64, 64))


def text(seed: int) -> Icon:
    """Six bars of one height beside each other, which is what a word comes to."""
    shift = seed % 4
    bars = "".join(f'<rect x="{10 + 30 * i + shift}" y="10" width="12" height="30" fill="#123"/>' for i in range(6))
    return Icon("logos", f"text-{seed}", bars, (0, 0, 200, 50))


KINDS = {"simple": simple, "text": text, "gradient": gradient, "complex": complex_}


def icons(count: int) -> list[Icon]:
    """``count`` icons, the four types in turn."""
    makers = list(KINDS.values())
    return [makers[i % 4](i) for i in range(count)]
