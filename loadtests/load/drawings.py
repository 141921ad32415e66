"""Pictures to send, drawn here so that a load test needs no data: one of each type of logo, at three sizes."""

from __future__ import annotations

import io
import math
from functools import lru_cache

from PIL import Image

from serve.vector.compare import composite, render

SIZES_PX = (128, 256, 512)
_HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" fill="#fff"/>'


def _simple() -> str:
    return '<circle cx="32" cy="32" r="24" fill="#e4572e"/><path d="M20 44 32 16 44 44Z" fill="#fff"/>'


def _text() -> str:
    """Six letter-like shapes on one line."""
    stems = "".join(f'<rect x="{4 + 10 * k}" y="22" width="3" height="20"/>' for k in range(6))
    bowls = "".join(
        f'<circle cx="{9.5 + 10 * k}" cy="{27 + 5 * (k % 3)}" r="3" fill="none" stroke="#1b3a4b" stroke-width="2"/>'
        for k in range(6)
    )
    return f'<g fill="#1b3a4b">{stems}{bowls}</g>'


def _gradient() -> str:
    stops = '<stop stop-color="#3a86ff"/><stop offset="1" stop-color="#ff006e"/>'
    return (
        f'<linearGradient id="g" x2="1" y2="1">{stops}</linearGradient>'
        '<rect x="8" y="8" width="48" height="48" rx="12" fill="url(#g)"/>'
        '<circle cx="32" cy="32" r="10" fill="#fff"/>'
    )


def _complex() -> str:
    """A ring of two dozen petals in a dozen colours."""
    petals = []
    for k in range(24):
        angle = 2 * math.pi * k / 24
        x, y = 32 + 20 * math.cos(angle), 32 + 20 * math.sin(angle)
        petals.append(f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{3 + k % 3}" fill="hsl({30 * (k % 12)},70%,50%)"/>')
    return "".join(petals) + '<circle cx="32" cy="32" r="9" fill="#ffd166" stroke="#333" stroke-width="2"/>'


DRAWINGS = {"simple": _simple, "text": _text, "gradient": _gradient, "complex": _complex}


@lru_cache
def encoded(name: str, size_px: int, format_name: str = "PNG") -> bytes:
    """The drawing as a file of ``format_name`` (PNG or JPEG), ``size_px`` square."""
    rgb = composite(render(f"{_HEAD}{DRAWINGS[name]()}</svg>", size_px, size_px))
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format_name)
    return buffer.getvalue()


def all_encoded() -> list[bytes]:
    """Every drawing at every size; the largest also as JPEG."""
    files = [encoded(name, size) for name in DRAWINGS for size in SIZES_PX]
    return files + [encoded(name, SIZES_PX[-1], "JPEG") for name in DRAWINGS]
