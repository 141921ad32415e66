"""Numbers, path data and strokes in as few characters as the precision allows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from serve.vector.coverage.curves import Segments

CACHED_OUTLINES = 8192
"""Outlines whose path data is kept; of some ten segments each that is 10 MB."""
CACHED_NUMBERS = 16384


def number(value: float, decimals: int) -> str:
    """``value`` in the fewest characters: no trailing zeros, no leading zero, never "-0"."""
    text = f"{value:.{decimals}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if text.startswith("0."):
        return text[1:]
    if text.startswith("-0."):
        return "-" + text[2:]
    return "0" if text in ("-0", "") else text


def outline_data(outline: Segments, decimals: int, radius: float = 0.0, *, closed: bool = True) -> str:
    """Path data of one outline (n, 9), coordinates rounded to ``decimals`` places without drift; with a
    ``radius`` its curves are arcs of that radius."""
    grid = np.rint(outline[:, 1:] * 10**decimals).astype(np.int64)
    return _outline_data(grid.tobytes(), (outline[:, 0] == 1).tobytes(), decimals, radius, closed)


@lru_cache(CACHED_OUTLINES)
def _outline_data(grid: bytes, lines: bytes, decimals: int, radius: float, closed: bool) -> str:
    """Of coordinates (n, 8), int64; ``lines``: which rows are lines. A drawing is written several times over, with few
    outlines changed."""
    scale = 10**decimals
    rows: list[list[int]] = np.frombuffer(grid, np.int64).reshape(-1, 8).tolist()
    x, y = rows[0][:2]
    parts = ["M", joined((x, y), scale)]
    last = ""
    for i, (_, _, x1, y1, x2, y2, x3, y3) in enumerate(rows):
        dx, dy = x3 - x, y3 - y
        if lines[i]:
            if (closed and i == len(rows) - 1) or (dx == 0 and dy == 0):
                continue
            command, values = _line(dx, dy)
        elif radius:
            command, values = f"a{number(radius, decimals)} {number(radius, decimals)} 0 0 1 ", (dx, dy)
            last = ""
        else:
            command, values = "c", (x1 - x, y1 - y, x2 - x, y2 - y, dx, dy)
        text = joined(values, scale)
        if command != last:
            parts.append(command)
        elif text[0] != "-":
            parts.append(" ")
        parts.append(text)
        last, x, y = command, x3, y3
    if closed:
        parts.append("z")
    return "".join(parts)


def _line(dx: int, dy: int) -> tuple[str, tuple[int, ...]]:
    """The shortest command for a line."""
    if dy == 0:
        return "h", (dx,)
    return ("v", (dy,)) if dx == 0 else ("l", (dx, dy))


def joined(values: tuple[int, ...], scale: int) -> str:
    """Numbers given in units of 1/scale, with separators only where SVG's grammar needs them."""
    out, previous = "", ""
    for value in values:
        text = _decimal(value, scale)
        if out and text[0] != "-" and not (text[0] == "." and "." in previous):
            out += " "
        out += text
        previous = text
    return out


@lru_cache(CACHED_NUMBERS)
def _decimal(value: int, scale: int) -> str:
    if scale == 1:
        return str(value)
    whole, rest = divmod(abs(value), scale)
    sign = "-" if value < 0 else ""
    if rest == 0:
        return f"{sign}{whole}"
    digits = f"{rest:0{len(str(scale)) - 1}d}".rstrip("0")
    return f"{sign}{whole or ''}.{digits}"


@dataclass(frozen=True)
class Stroke:
    """``lines``: (n, 9) each, of which those are closed that ``closed`` says; ``cap``, ``join``: as SVG names them."""

    lines: tuple[Segments, ...]
    closed: tuple[bool, ...]
    width: float
    cap: str
    join: str

    def attributes(self, decimals: int) -> str:
        cap = f' stroke-linecap="{self.cap}"' if self.cap != "butt" else ""
        join = f' stroke-linejoin="{self.join}"' if self.join != "miter" else ""
        return f'fill="none" stroke-width="{number(self.width, decimals)}"{cap}{join}'

    def data(self, decimals: int) -> str:
        parts = zip(self.lines, self.closed, strict=True)
        return "".join(outline_data(line, decimals, closed=closed) for line, closed in parts)
