"""Sizes of an SVG text, its root element made fit for rendering at any size, and rendering to PNG with resvg."""

from __future__ import annotations

import gzip
import re
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass

from resvg import render, usvg

_ROOT = re.compile(r"<svg\b[^>]*>")
_VIEW_BOX = re.compile(r"\sviewBox=[\"']\s*[-+.\deE]+[\s,]+[-+.\deE]+[\s,]+([.\d]+)[\s,]+([.\d]+)\s*[\"']")
_SHAPE = re.compile(r"<(?:path|rect|circle|ellipse|polygon|polyline|line|use|text)\b")
_PATH_DATA = re.compile(r"\bd=[\"']([^\"']*)[\"']")
_COMMAND = re.compile(r"([MmLlHhVvCcSsQqTtAaZz])([^MmLlHhVvCcSsQqTtAaZz]*)")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_NUMBERS_PER_NODE = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "A": 7}
_NODES_OF_A_BASIC_SHAPE = 4


@dataclass(frozen=True)
class SvgStatistics:
    """``bytes`` as UTF-8, ``gzip_bytes`` at level 9, ``paths`` all drawn elements, ``nodes`` their end points."""

    bytes: int
    gzip_bytes: int
    paths: int
    nodes: int


def statistics(svg: str) -> SvgStatistics:
    encoded = svg.encode()
    return SvgStatistics(
        bytes=len(encoded),
        gzip_bytes=len(gzip.compress(encoded, 9, mtime=0)),
        paths=len(_SHAPE.findall(svg)),
        nodes=_nodes(svg),
    )


def count_paths(svg: str) -> int:
    return len(_SHAPE.findall(svg))


def _nodes(svg: str) -> int:
    total = _NODES_OF_A_BASIC_SHAPE * len(re.findall(r"<(?:rect|circle|ellipse)\b", svg))
    for data in _PATH_DATA.findall(svg):
        for command, numbers in _COMMAND.findall(data):
            if command not in "Zz":
                total += max(1, len(_NUMBER.findall(numbers)) // _NUMBERS_PER_NODE[command.upper()])
    return total


def with_size(svg: str, width: int, height: int) -> str:
    """``svg`` drawn to fill exactly ``width`` x ``height``; needs a ``viewBox``, or a ``width`` and ``height``.

    Raises ValueError when there is no root element or no way to tell its coordinates.
    """
    match = _ROOT.search(svg)
    if match is None:
        raise ValueError("no <svg> element")
    root = match.group(0)
    size = {name: value for name in ("width", "height") if (value := _length(root, name)) is not None}
    bare = re.sub(r"\s(?:width|height|preserveAspectRatio)=(?:\"[^\"]*\"|'[^']*')", "", root)
    added = f' width="{width}" height="{height}" preserveAspectRatio="none"'
    if "viewBox" not in bare:
        if len(size) != 2:
            raise ValueError("the <svg> element has neither a viewBox nor a width and height")
        added += f' viewBox="0 0 {size["width"]} {size["height"]}"'
    return svg[: match.start()] + bare.replace("<svg", "<svg" + added, 1) + svg[match.end() :]


def size_of(svg: str) -> tuple[float, float]:
    """Width and height of ``svg``, or of its ``viewBox``; both above 0.

    Raises ValueError if it has neither.
    """
    match = _ROOT.search(svg)
    root = match.group(0) if match else ""
    sides = _length(root, "width"), _length(root, "height")
    view = _VIEW_BOX.search(root)
    named = sides if all(sides) else view.groups() if view else ()
    width, height = (float(value or 0) for value in named or (0, 0))
    if not (width > 0 and height > 0):
        raise ValueError("the <svg> element does not tell its size")
    return width, height


def _length(root: str, name: str) -> str | None:
    found = re.search(rf"\s{name}=[\"']([\d.]+)(?:px)?[\"']", root)
    return found.group(1) if found else None


GIBIBYTE = 1024**3
PROCESS_S = 60
"""Processor time of one drawing in a process of its own."""
REFUSED = 3
"""Exit code for text that cannot be rendered; the reason is on standard error."""
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # rows of the matrix, as `affine` orders them
# Rejects text that could make the renderer read files or expand entities; internal references are allowed.
_REFUSED = re.compile(r"<!(?:DOCTYPE|ENTITY)|<(?:image|feImage|style)\b|href\s*=\s*(?:\"[^#\"]|'[^#'])", re.IGNORECASE)


def refuse_references(svg: str) -> None:
    """Raises ValueError for text that could make a reader load files or expand entities."""
    if _REFUSED.search(svg):
        raise ValueError("the SVG refers to something outside itself")


def to_png(svg: str, width: int, height: int) -> bytes:
    """``svg`` filling exactly ``width`` x ``height``.

    For SVG text of our own tracers, and other text only as long as it refers to nothing outside itself. Raises
    ValueError for text that does, or that is not SVG.
    """
    refuse_references(svg)
    tree = usvg.Tree.from_str(with_size(svg, width, height), usvg.Options.default())
    return render(tree, _IDENTITY)


def main(width: int, height: int, seconds: int = PROCESS_S) -> int:
    """`python -m serve.vector.svg WIDTH HEIGHT` renders standard input to standard output. Rendering holds the
    interpreter's lock until it is done, and a large drawing takes seconds: so it has a process of its own."""
    return run_process(lambda svg: to_png(svg, width, height), seconds)


def run_process(make: Callable[[str], bytes], seconds: int = PROCESS_S) -> int:
    """Makes a file of the SVG on standard input, within the limits of such processes; returns the exit code."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (4 * GIBIBYTE, 4 * GIBIBYTE))
    try:
        made = make(sys.stdin.buffer.read().decode())
    except ValueError as error:
        print(error, file=sys.stderr)
        return REFUSED
    sys.stdout.buffer.write(made)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
