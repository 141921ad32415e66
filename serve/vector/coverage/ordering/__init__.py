"""What is done to finished shapes: order among them, the same shape once, and the likeness that both keep to."""

from __future__ import annotations

from collections.abc import Sequence

from serve.vector.coverage.curves import Segments
from serve.vector.coverage.flat import FloatImage
from serve.vector.coverage.ordering.likeness import as_like
from serve.vector.coverage.ordering.order import in_order
from serve.vector.coverage.ordering.repeats import Place, apart, same_forms, together
from serve.vector.coverage.ordering.uses import with_uses
from serve.vector.coverage.paints import PaintTable
from serve.vector.coverage.strokes.found import find_strokes
from serve.vector.coverage.strokes.polishing import polished
from serve.vector.coverage.writer import Shape
from serve.vector.parameters import CoverageParameters

__all__ = ["in_order", "ordered", "with_uses"]


def ordered(
    shapes: Sequence[Shape], paints: PaintTable, target: FloatImage, parameters: CoverageParameters, *, noisy: bool
) -> list[Shape]:
    """``shapes`` in order, as far as ``target`` (H, W, 4), premultiplied, does not contradict.

    Whole shapes move by too little to be rendered for it.
    """
    after = in_order(shapes, noisy=noisy)
    moved: dict[Place, Segments] = {}
    if parameters.reuse:
        moved = same_forms(after, paints, parameters.decimals, parameters.max_paths - len(after), noisy=noisy)
    strokes = find_strokes(
        after,
        moved,
        parameters.decimals,
        parameters.max_paths - len(after) - len(moved),
        noisy=noisy,
        refined=parameters.refine > 0,
    )
    parts = apart(shapes, after, moved, strokes)
    before = [part.before if part.is_redrawn else part.after for part in parts]
    drawn = [part.after for part in parts]
    if strokes and parameters.refine:
        drawn = polished(drawn, paints, target)
    kept = as_like(before, drawn, paints, target, parameters.decimals)
    return together(parts, kept)
