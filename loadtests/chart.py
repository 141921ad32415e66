"""Lines in a picture, as SVG: for documents, without a library for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a")
WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 56


class Axis:
    """From values to pixels, straight or by logarithms."""

    def __init__(self, values: Sequence[float], start_px: float, end_px: float, logarithmic: bool) -> None:
        self._log = logarithmic
        low, high = min(values), max(values)
        if logarithmic:
            low, high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))
        else:
            low, high = min(0.0, low), high * 1.05 or 1.0
        self._low, self._high = self._of(low), self._of(high if high > low else low * 10 or 1.0)
        self._start, self._span = start_px, end_px - start_px

    def _of(self, value: float) -> float:
        return math.log10(value) if self._log else value

    def px(self, value: float) -> float:
        return self._start + self._span * (self._of(value) - self._low) / (self._high - self._low)

    def ticks(self) -> list[float]:
        if self._log:
            return [10.0**power for power in range(round(self._low), round(self._high) + 1)]
        step = 10 ** math.floor(math.log10(self._high - self._low))
        step = next(step / part for part in (1, 2, 5, 10) if (self._high - self._low) / (step / part) >= 4)
        return [step * k for k in range(math.ceil(self._low / step), math.floor(self._high / step) + 1)]


def lines(title: str, x: str, y: str, series: Mapping[str, Points], log_x: bool = False, log_y: bool = False) -> str:
    """One line for each of ``series``, named in a legend. Raises ``ValueError`` where there is nothing to draw."""
    points = [point for one in series.values() for point in one]
    if not points:
        raise ValueError("nothing to draw")
    across = Axis([point[0] for point in points], LEFT, WIDTH - RIGHT, log_x)
    up = Axis([point[1] for point in points], HEIGHT - BOTTOM, TOP, log_y)
    drawn = [_text(WIDTH / 2, 22, title, "middle", 15), _text(WIDTH / 2, HEIGHT - 8, x, "middle")]
    drawn.append(f'<g transform="rotate(-90 14 {HEIGHT / 2})">{_text(14, HEIGHT / 2, y, "middle")}</g>')
    for value in across.ticks():
        at = across.px(value)
        drawn += [_line(at, TOP, at, HEIGHT - BOTTOM), _text(at, HEIGHT - BOTTOM + 16, f"{value:g}", "middle")]
    for value in up.ticks():
        at = up.px(value)
        drawn += [_line(LEFT, at, WIDTH - RIGHT, at), _text(LEFT - 6, at + 4, f"{value:g}", "end")]
    for number, (name, one) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{across.px(px):.1f},{up.px(py):.1f}" for px, py in one)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn.append(_text(LEFT + 10, TOP + 16 + 16 * number, name, "start", 12, colour))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    return f'{head}<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>{"".join(drawn)}</svg>\n'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#d0d7de"/>'


def _text(x: float, y: float, words: str, anchor: str, size: int = 12, colour: str = "#24292f") -> str:
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f"<text {at}>{escape(words)}</text>"
