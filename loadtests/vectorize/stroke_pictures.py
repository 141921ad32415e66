"""Pictures drawn with strokes, whose source is known, and how many of a drawing's strokes are the source's.

Forty pictures have strokes alone: open polylines, arcs, smooth curves, closed outlines, branches and line icons, with
all caps and joins, on plain and coloured grounds. Twelve more have filled areas alone, some of which look like strokes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serve.vector.drawing import Contour, Shape
from serve.vector.svg_reader import read

SIDE = 256
WITHIN_PX = 1.5
"""How far a stroke's centre line may lie from the other's."""
WIDTH_PX, WIDTH_SHARE = 1.0, 0.1
"""How much the widths may differ: the larger of these pixels and this share."""
COVERED = 0.95
"""Least share of a centre line that lies on the other drawing's."""
Floats = npt.NDArray[np.float64]
GROUNDS = ("#fff", "#fff", "#fdf3d8", "#17324d", "#e9f5ec", "#fff", "#2b2b2b", "#f6d5d9")
INKS = ("#d93a3a", "#111", "#2a6fdb", "#ffd166", "#1d6b45", "#6b3fa0", "#f4f4f4", "#8a1c2e")
WAVE = "M24 128C44 60 64 60 84 128S124 196 144 128S184 60 204 128S226 180 236 150"
SPIRAL = "M128 128C140 116 156 128 150 146C142 170 104 168 96 140C86 100 126 74 160 88C206 106 212 168 180 198"
HEART = "M128 214C70 170 36 136 36 98C36 66 60 46 86 46C106 46 120 56 128 72C136 56 150 46 170 46C196 46 220 66 220 98"
HEART += "C220 136 186 170 128 214Z"
ROUNDED = "M70 50H186A24 24 0 0 1 210 74V182A24 24 0 0 1 186 206H70A24 24 0 0 1 46 182V74A24 24 0 0 1 70 50Z"
LEAF = "M48 208C48 110 110 48 208 48C208 146 146 208 48 208Z"
STAR = "M128 30L152 98L224 100L167 144L187 213L128 172L69 213L89 144L32 100L104 98Z"
CIRCLE = "M{left} {y}A{r} {r} 0 1 1 {right} {y}A{r} {r} 0 1 1 {left} {y}Z"


@dataclass(frozen=True)
class Picture:
    """``strokes``: whether it has strokes alone; else it has none."""

    name: str
    svg: str
    strokes: bool


def pictures() -> list[Picture]:
    drawn: list[tuple[str, Sequence[str], float, str, str]] = [*_polylines(), *_curves(), *_closed(), *_icons()]
    found = []
    for i, (name, paths, width, cap, join) in enumerate(drawn):
        style = f'fill="none" stroke="{INKS[i % 8]}" stroke-width="{width}" stroke-linecap="{cap}" '
        style += f'stroke-linejoin="{join}"'
        found.append(Picture(name, _svg(i, "".join(f'<path d="{d}" {style}/>' for d in paths)), True))
    for i, (name, data) in enumerate(_fills()):
        found.append(Picture(name, _svg(i, f'<path d="{data}" fill="{INKS[i % 8]}" fill-rule="evenodd"/>'), False))
    return found


def _svg(i: int, body: str) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}">'
    return f'{head}<rect width="{SIDE}" height="{SIDE}" fill="{GROUNDS[i % 8]}"/>{body}</svg>'


def _polylines() -> list[tuple[str, Sequence[str], float, str, str]]:
    """Twelve open polylines of 2 to 6 segments."""
    zigzag = "M30 180L80 60L130 180L180 60L226 180"
    return [
        ("zigzag", [zigzag], 10, "round", "round"),
        ("zigzag-miter", [zigzag], 12, "butt", "miter"),
        ("zigzag-bevel", [zigzag], 16, "square", "bevel"),
        ("check", ["M40 130L100 190L216 64"], 24, "round", "round"),
        ("check-thin", ["M40 130L100 190L216 64"], 3, "butt", "miter"),
        ("angle", ["M60 40V200H220"], 20, "square", "miter"),
        ("chevron", ["M90 40L180 128L90 216"], 14, "round", "miter"),
        ("steps", ["M24 216H76V168H128V120H180V72H232"], 8, "butt", "round"),
        ("acute", ["M40 210L120 40L150 210L220 50"], 9, "round", "round"),
        ("blunt", ["M24 150L70 120L120 132L170 96L232 110"], 7, "square", "round"),
        ("pulse", ["M16 128H80L108 40L148 216L172 128H240"], 6, "round", "bevel"),
        ("hook", ["M70 40L70 190L130 216L190 190L190 110L130 96"], 12, "butt", "bevel"),
    ]


def _curves() -> list[tuple[str, Sequence[str], float, str, str]]:
    """Nine arcs and smooth open curves."""
    return [
        ("arc", ["M40 170A90 90 0 0 1 216 170"], 14, "round", "miter"),
        ("arc-long", ["M170 200A80 80 0 1 1 200 120"], 10, "butt", "miter"),
        ("s", ["M190 50C120 20 60 80 128 128S130 236 60 206"], 18, "round", "round"),
        ("wave", [WAVE], 8, "round", "round"),
        ("spiral", [SPIRAL], 9, "butt", "round"),
        ("spiral-thin", [SPIRAL], 4, "round", "round"),
        ("loop", ["M30 200C120 200 200 140 170 80C150 40 90 60 100 110C110 160 180 190 230 190"], 7, "round", "round"),
        ("hook-curved", ["M80 40V150A50 50 0 0 0 180 150V120"], 16, "square", "round"),
        ("signals", ["M60 196A20 20 0 0 1 80 216", "M60 136A80 80 0 0 1 140 216", "M60 76A140 140 0 0 1 200 216"],
         15, "round", "round"),
    ]  # fmt: skip


def _closed() -> list[tuple[str, Sequence[str], float, str, str]]:
    """Seven closed outlines."""
    return [
        ("circle", [CIRCLE.format(left=48, right=208, y=128, r=80)], 12, "butt", "miter"),
        ("heart", [HEART], 14, "round", "round"),
        ("heart-thin", [HEART], 5, "butt", "miter"),
        ("card", [ROUNDED], 10, "butt", "miter"),
        ("leaf", [LEAF], 11, "butt", "round"),
        ("star", [STAR], 8, "butt", "round"),
        ("triangle", ["M128 44L222 208H34Z"], 18, "butt", "bevel"),
    ]


def _icons() -> list[tuple[str, Sequence[str], float, str, str]]:
    """Twelve branches and line icons of up to six strokes, which touch and cross."""
    ring = CIRCLE.format(left=36, right=184, y=110, r=74)
    return [
        ("tee", ["M40 60H216", "M128 60V216"], 16, "butt", "miter"),
        ("wye", ["M128 132V220", "M128 132L56 50", "M128 132L200 50"], 14, "round", "round"),
        ("plus", ["M128 40V216", "M40 128H216"], 18, "round", "round"),
        ("cross", ["M60 60L196 196", "M196 60L60 196"], 12, "butt", "miter"),
        ("search", [ring, "M164 164L222 222"], 16, "round", "round"),
        ("menu", ["M40 76H216", "M40 128H216", "M40 180H216"], 14, "round", "round"),
        ("clock", [CIRCLE.format(left=32, right=224, y=128, r=96), "M128 70V128L168 150"], 14, "round", "round"),
        ("mail", ["M52 60H204A16 16 0 0 1 220 76V180A16 16 0 0 1 204 196H52A16 16 0 0 1 36 180V76A16 16 0 0 1 52 60Z",
                  "M40 78L128 140L216 78"], 12, "round", "round"),
        ("download", ["M220 164V204A16 16 0 0 1 204 220H52A16 16 0 0 1 36 204V164", "M80 108L128 156L176 108",
                      "M128 156V36"], 15, "round", "round"),
        ("home", ["M40 100L128 32L216 100V208A12 12 0 0 1 204 220H52A12 12 0 0 1 40 208Z", "M98 220V128H158V220"],
         14, "round", "round"),
        ("user", ["M208 220V198A40 40 0 0 0 168 158H88A40 40 0 0 0 48 198V220",
                  CIRCLE.format(left=88, right=168, y=76, r=40)], 16, "round", "round"),
        ("tree", ["M128 236V60", "M128 180L64 130", "M128 150L196 96", "M128 100L92 66"], 8, "round", "round"),
    ]  # fmt: skip


def _fills() -> list[tuple[str, str]]:
    wedge = " ".join(f"{128 + 90 * math.cos(a):.1f} {128 + 90 * math.sin(a):.1f}" for a in (0.2, 1.1))
    return [
        ("brush", "M40 200C80 60 180 60 216 190C176 100 96 110 40 200Z"),
        ("drop", "M128 30C160 90 196 120 196 160A68 68 0 0 1 60 160C60 120 96 90 128 30Z"),
        ("arrow", "M30 110H140V60L226 128L140 196V146H30Z"),
        ("wedge", f"M128 128L{wedge}Z"),
        ("serif", "M84 60C110 66 150 66 172 60V84C150 78 146 90 146 110V150C146 190 160 190 178 184V206H78V184"
                  "C96 190 110 190 110 150V110C110 90 100 78 84 84Z"),
        ("moon", "M150 36A96 96 0 1 0 220 168A80 80 0 0 1 150 36Z"),
        ("bolt", "M150 24L60 148H116L96 232L196 100H136Z"),
        ("blob", "M60 100C60 40 130 30 170 60C220 90 230 150 190 190C150 230 60 210 50 160C46 140 60 120 60 100Z"),
        ("pin", "M128 232C90 170 56 140 56 102A72 72 0 0 1 200 102C200 140 166 170 128 232ZM128 76A26 26 0 1 0 128 128"
                "A26 26 0 1 0 128 76Z"),
        ("kite", "M128 24L200 110L128 232L56 110Z"),
        ("swoosh", "M24 170C80 200 160 160 232 60C190 190 90 250 40 214C26 204 22 190 24 170Z"),
        ("frame", "M30 40L226 60L214 220L44 200ZM60 70L70 180L180 190L190 84Z"),
    ]  # fmt: skip


@dataclass(frozen=True)
class _Line:
    """``points`` (n, 2) about a pixel apart along a centre line."""

    points: Floats
    width: float


def counted(source: str, traced: str) -> tuple[int, int, int, int]:
    """Strokes of the ``source``, those that ``traced`` has; strokes of ``traced``, those that the ``source`` has.

    A stroke is a part of a stroked path, or a stroked or a long filled basic shape. One has the other if COVERED of its
    centre line, square caps included, lies within WITHIN_PX of the other drawing's of about that width.
    """
    wanted, found = _lines(source), _lines(traced)
    return len(wanted), _covered(wanted, found), len(found), _covered(found, wanted)


def _lines(svg: str) -> list[_Line]:
    lines = []
    for shape in read(svg).shapes:
        if shape.stroke is not None:
            lines += [_Line(_sampled(contour, shape), shape.stroke_width) for contour in shape.contours]
        elif shape.tag == "rect" and (bar := _bar(shape)) is not None:
            lines.append(bar)
    return lines


def _bar(shape: Shape) -> _Line | None:
    """The middle line of a filled rectangle that is at least twice as long as wide."""
    width, height = (float(shape.geometry[name]) for name in ("width", "height"))
    x, y = (float(shape.geometry.get(name, 0)) for name in "xy")
    if max(width, height) < 2 * min(width, height) or width >= SIDE:
        return None
    radius = min(float(shape.geometry.get("rx", 0)), min(width, height) / 2)
    ends = [(x + width / 2, y + radius), (x + width / 2, y + height - radius)]
    if width > height:
        ends = [(x + radius, y + height / 2), (x + width - radius, y + height / 2)]
    return _Line(_spread(np.array([shape.placed.transformPoint(end) for end in ends])), min(width, height))


def _sampled(contour: Contour, shape: Shape) -> Floats:
    at, points = contour.start, [contour.start]
    for name, controls in contour.steps:
        if name == "line":
            points.append(controls[0])
        else:
            a, b, c, d = (np.array(point) for point in (at, *controls))
            for t in np.linspace(0, 1, 25)[1:]:
                v = 1 - t
                x, y = v**3 * a + 3 * v * v * t * b + 3 * v * t * t * c + t**3 * d
                points.append((float(x), float(y)))
        at = controls[-1]
    if contour.closed:
        points.append(contour.start)
    line = np.array(points)
    if shape.cap == "square" and not contour.closed:
        for end, before in ((0, 1), (-1, -2)):
            step = line[end] - line[before]
            line[end] += step / max(1e-9, np.hypot(*step)) * shape.stroke_width / 2
    return _spread(line)


def _spread(line: Floats) -> Floats:
    along = np.concatenate([[0.0], np.hypot(*np.diff(line, axis=0).T).cumsum()])
    at = np.linspace(0, along[-1], max(2, round(float(along[-1]))))
    return np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], axis=1)


def _covered(lines: Sequence[_Line], by: Sequence[_Line]) -> int:
    count = 0
    for line in lines:
        allowed = max(WIDTH_PX, WIDTH_SHARE * line.width)
        near = [other.points for other in by if abs(other.width - line.width) <= allowed]
        if near:
            points = np.concatenate(near)
            apart = np.hypot(*(line.points[:, None] - points[None]).transpose(2, 0, 1)).min(axis=1)
            count += bool((apart <= WITHIN_PX).mean() >= COVERED)
    return count
