"""The SVG text: relative commands, as few characters as the precision allows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serve.vector.coverage.curves import Segments
from serve.vector.coverage.paints import LINEAR, SOLID, Floats, PaintTable

NAMESPACE = "http://www.w3.org/2000/svg"


@dataclass(frozen=True)
class Shape:
    """A paint, by its index, and the closed outlines that it fills by the even-odd rule."""

    paint: int
    outlines: list[Segments]


def to_svg(
    shapes: list[Shape], paints: PaintTable, traced: tuple[int, int], size: tuple[int, int], decimals: int
) -> str:
    """The SVG of ``shapes``, the bottom one first.

    ``traced`` is the width and height in pixels that their coordinates refer to, ``size`` that of the picture.
    """
    gradients = sorted({s.paint for s in shapes if paints.kind[s.paint] != SOLID})
    names = {k: _name(i) for i, k in enumerate(gradients)}
    body = "".join(_gradient(paints, k, names[k]) for k in gradients)
    body += "".join(_path(s, paints, names, *traced, decimals) for s in shapes)
    if traced != size:
        scale = " ".join(number(whole / part, 5) for whole, part in zip(size, traced, strict=True))
        body = f'<g transform="scale({scale})">{body}</g>'
    return f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {size[0]} {size[1]}">{body}</svg>'


def _name(index: int) -> str:
    letter = chr(ord("a") + index % 26)
    return letter if index < 26 else f"{letter}{index // 26}"


def _path(shape: Shape, paints: PaintTable, names: dict[int, str], width: int, height: int, decimals: int) -> str:
    k = shape.paint
    fill = _fill(paints.colors[k, 0]) if paints.kind[k] == SOLID else f' fill="url(#{names[k]})"'
    if len(shape.outlines) == 1 and _is_canvas(shape.outlines[0], width, height):
        return f'<path{fill} d="M0 0h{width}v{height}H0z"/>'
    rule = ' fill-rule="evenodd"' if len(shape.outlines) > 1 else ""
    return f'<path{fill}{rule} d="{"".join(outline_data(o, decimals) for o in shape.outlines)}"/>'


def _fill(premultiplied: Floats) -> str:
    color, opacity = straight(premultiplied)
    fill = "" if color == "#000" else f' fill="{color}"'
    return fill if opacity >= 0.995 else f'{fill} fill-opacity="{number(opacity, 2)}"'


def straight(premultiplied: Floats) -> tuple[str, float]:
    """Shortest hex colour and opacity (0..1) of a premultiplied colour (4,) in 0..255."""
    alpha = max(float(premultiplied[3]), 1e-3) / 255
    rgb = [round(min(255.0, max(0.0, float(v) / alpha))) for v in premultiplied[:3]]
    text = "".join(f"{v:02x}" for v in rgb)
    if all(text[i] == text[i + 1] for i in (0, 2, 4)):
        text = text[::2]
    return f"#{text}", min(1.0, alpha)


def _gradient(paints: PaintTable, k: int, name: str) -> str:
    g = paints.geometry[k]
    units = 'gradientUnits="userSpaceOnUse"'
    stops = "".join(_stop(paints.offsets[k, i], paints.colors[k, i]) for i in range(paints.stops[k]))
    if paints.kind[k] == LINEAR:
        x1, y1, x2, y2 = (number(float(v), 1) for v in (g[0] * g[2], g[1] * g[2], g[0] * g[3], g[1] * g[3]))
        return f'<linearGradient id="{name}" {units} x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}">{stops}</linearGradient>'
    cx, cy, r = (number(float(v), 1) for v in g[:3])
    return f'<radialGradient id="{name}" {units} cx="{cx}" cy="{cy}" r="{r}">{stops}</radialGradient>'


def _stop(offset: float, premultiplied: Floats) -> str:
    color, opacity = straight(premultiplied)
    at = f' offset="{number(float(offset), 3)}"' if offset > 0 else ""
    clear = f' stop-opacity="{number(opacity, 2)}"' if opacity < 0.995 else ""
    return f'<stop{at} stop-color="{color}"{clear}/>'


def _is_canvas(outline: Segments, width: int, height: int) -> bool:
    """Whether ``outline`` is the whole canvas, as contours see it: one pixel beyond each edge."""
    x, y = outline[:, [1, 7]], outline[:, [2, 8]]
    if x.min() > -0.4 or y.min() > -0.4 or x.max() < width + 0.4 or y.max() < height + 0.4:
        return False
    area = 0.5 * float(np.sum(x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]))
    return abs(area) > (width + 1.0) * (height + 1.0) * 0.985


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


def outline_data(outline: Segments, decimals: int) -> str:
    """Path data of one closed outline (n, 9), coordinates rounded to ``decimals`` places without drift."""
    scale = 10**decimals
    grid = np.rint(outline[:, 1:] * scale).astype(np.int64)
    x, y = int(grid[0, 0]), int(grid[0, 1])
    parts = ["M", _join((x, y), scale)]
    last = ""
    rows: list[list[int]] = grid.tolist()
    for i, (_, _, x1, y1, x2, y2, x3, y3) in enumerate(rows):
        dx, dy = x3 - x, y3 - y
        if outline[i, 0] == 1:
            if i == len(rows) - 1 or (dx == 0 and dy == 0):
                continue
            command, values = _line(dx, dy)
        else:
            command, values = "c", (x1 - x, y1 - y, x2 - x, y2 - y, dx, dy)
        text = _join(values, scale)
        if command != last:
            parts.append(command)
        elif text[0] != "-":
            parts.append(" ")
        parts.append(text)
        last, x, y = command, x3, y3
    parts.append("z")
    return "".join(parts)


def _line(dx: int, dy: int) -> tuple[str, tuple[int, ...]]:
    """The shortest command for a line."""
    if dy == 0:
        return "h", (dx,)
    return ("v", (dy,)) if dx == 0 else ("l", (dx, dy))


def _join(values: tuple[int, ...], scale: int) -> str:
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
