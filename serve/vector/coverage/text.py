"""Numbers, path data and strokes in as few characters as the precision allows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serve.vector.coverage.curves import Segments


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
    scale = 10**decimals
    grid = np.rint(outline[:, 1:] * scale).astype(np.int64)
    x, y = int(grid[0, 0]), int(grid[0, 1])
    parts = ["M", joined((x, y), scale)]
    last = ""
    rows: list[list[int]] = grid.tolist()
    for i, (_, _, x1, y1, x2, y2, x3, y3) in enumerate(rows):
        dx, dy = x3 - x, y3 - y
        if outline[i, 0] == 1:
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
