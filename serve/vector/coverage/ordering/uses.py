"""Equal elements of a drawing as one element and ``use`` of it, where that is shorter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serve.vector.coverage.text import joined

LEAST_SAVED = 6
"""Bytes that each ``use`` has to save; for less, a shape that says what it is is better."""
_TAG = re.compile(r"<(/?)(\w+)([^>]*?)(/?)>")
_ATTRIBUTE = re.compile(r'\s([\w-]+)="([^"]*)"')
_ROTATE = re.compile(r"rotate\((\S+) (\S+) (\S+)\)")
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)")
_PAINT = ("fill", "fill-opacity", "stroke", "stroke-opacity")
_PLACE = {"rect": ("x", "y"), "circle": ("cx", "cy"), "ellipse": ("cx", "cy")}
Key = tuple[object, ...]


@dataclass
class _Element:
    """``start``, ``end``: where its text is; ``paint``: its own attributes of paint, as text; ``at``: its place in
    units of the last decimal; ``key``: all else, by which elements are equal."""

    start: int
    end: int
    tag: str
    paint: str
    rest: str
    at: tuple[int, int]
    key: Key


def with_uses(svg: str, decimals: int) -> str:
    """``svg``, as `to_svg` writes it with so many ``decimals``, with ``use`` for elements that stand there before."""
    scale = 10**decimals
    groups: dict[Key, list[_Element]] = {}
    for element in _elements(svg, scale):
        groups.setdefault(element.key, []).append(element)
    changes: list[tuple[int, int, str]] = []
    taken = svg.count(" id=")
    for group in groups.values():
        if len(group) < 2:
            continue
        texts = _written(group, _name(taken), scale)
        saved = sum(one.end - one.start for one in group) - sum(map(len, texts))
        if saved >= LEAST_SAVED * (len(group) - 1):
            taken += 1
            changes += [(one.start, one.end, text) for one, text in zip(group, texts, strict=True)]
    parts, at = [], 0
    for start, end, text in sorted(changes):
        parts += [svg[at:start], text]
        at = end
    return "".join([*parts, svg[at:]])


def _elements(svg: str, scale: int) -> Iterator[_Element]:
    """Those of paint that moves with them: a gradient does not."""
    gradients = [False]
    for match in _TAG.finditer(svg):
        closes, tag, text, empty = match.groups()
        if tag == "g" and closes:
            gradients.pop()
        elif not closes and not empty:
            gradients.append(gradients[-1] or "url(" in text) if tag == "g" else None
        elif tag in ("path", *_PLACE) and not gradients[-1] and "url(" not in text:
            element = _element(match.start(), match.end(), tag, text, scale)
            if element is not None:
                yield element


def _element(start: int, end: int, tag: str, text: str, scale: int) -> _Element | None:
    attributes = dict(_ATTRIBUTE.findall(text))
    paint = "".join(f' {n}="{v}"' for n in _PAINT if (v := attributes.get(n, "none")) != "none")
    rest = _ATTRIBUTE.sub(lambda m: "" if m[1] in _PAINT and m[2] != "none" else m[0], text)
    kept = [(n, v) for n, v in attributes.items() if not (n in _PAINT and v != "none")]
    if tag == "path":
        data = attributes["d"]
        numbers = list(_NUMBER.finditer(data))[:2]
        if data.count("M") != 1 or "H" in data or len(numbers) < 2:
            return None
        place, tail = [float(one[0]) for one in numbers], data[numbers[1].end() :]
        kept = [(n, tail if n == "d" else v) for n, v in kept]
    else:
        names = _PLACE[tag]
        place = [float(attributes.get(name, 0)) for name in names]
        kept = [(n, v) for n, v in kept if n not in names]
    at = round(place[0] * scale), round(place[1] * scale)
    turned = _ROTATE.fullmatch(attributes.get("transform", ""))
    if turned is not None:
        centre = tuple(round(float(v) * scale) - p for v, p in zip(turned.groups()[1:], at, strict=True))
        kept = [(n, v) for n, v in kept if n != "transform"]
        return _Element(start, end, tag, paint, rest, at, (tag, *sorted(kept), turned[1], centre))
    return _Element(start, end, tag, paint, rest, at, (tag, *sorted(kept)))


def _written(group: Sequence[_Element], name: str, scale: int) -> list[str]:
    """The texts of equal elements: the first with an id, the others as uses of it. A use gives its paint to an
    element that has none of its own."""
    first = group[0]
    same = all(one.paint == first.paint for one in group)
    own = first.paint if same else ""
    text = f'<{first.tag} id="{name}"{own}{first.rest}/>'
    texts = [text if same or not first.paint else f"<g{first.paint}>{text}</g>"]
    for one in group[1:]:
        steps = zip("xy", one.at, first.at, strict=True)
        place = "".join(f' {axis}="{joined((a - b,), scale)}"' for axis, a, b in steps if a != b)
        texts.append(f'<use href="#{name}"{"" if same else one.paint}{place}/>')
    return texts


def _name(index: int) -> str:
    letter = chr(ord("a") + index % 26)
    return letter if index < 26 else f"{letter}{index // 26}"
