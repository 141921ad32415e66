"""SVG text of nested regions: a path for each colour of a depth, in whole half pixels, relative."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel

Ints = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]


@kernel
def _put(text: Bytes, at: int, value: int, glued: bool) -> int:
    """Write ``value`` at ``at``; ``glued``: a number stands before it, so that a digit needs a space."""
    if value < 0:
        text[at] = 45
        at += 1
        value = -value
    elif glued:
        text[at] = 32
        at += 1
    power = 1
    while value // power >= 10:
        power *= 10
    while power:
        text[at] = 48 + value // power % 10
        at += 1
        power //= 10
    return at


@kernel
def path_data(points: Ints, starts: Ints, chosen: Ints) -> Bytes:
    """Path data of the ``chosen`` polygons, as ASCII: ``mx y dx dy ... z`` each, relative to the one before."""
    size = 0
    for k in chosen:
        size += 4 + 16 * (starts[k + 1] - starts[k])
    text = np.empty(size, np.uint8)
    at, x0, y0 = 0, 0, 0
    for k in chosen:
        first, last = starts[k], starts[k + 1]
        text[at] = 109
        at += 1
        x, y = x0, y0
        for i in range(first, last):
            at = _put(text, at, points[i, 0] - x, i > first)
            at = _put(text, at, points[i, 1] - y, True)
            x, y = points[i, 0], points[i, 1]
        x0, y0 = points[first, 0], points[first, 1]
        text[at] = 122
        at += 1
    return text[:at].copy()


def path_text(points: Ints, starts: Ints, chosen: Ints) -> str:
    return path_data(points, starts, np.asarray(chosen, np.int32)).tobytes().decode("ascii")
