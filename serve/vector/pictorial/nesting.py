"""Regions of a cut through the merge tree, nested: each is drawn over the one that it joins later.

What is drawn of a region is all that joins it, so its colour also lies below those, and no gap can show between
neighbours. Regions of one depth are disjoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Nested:
    """``labels`` (H, W): the region of each pixel, 0 to n - 1, in an order in which each comes after its ``parent``
    (n,), the first one being the root (-1). ``depth`` (n,): 0 for the root."""

    labels: Ints
    parent: Ints
    depth: Ints


@kernel
def _cut(parent: Ints, time: Ints, cut: int) -> tuple[Ints, Ints, Ints]:
    """Labels of pixels, parents and depths of regions, after the first ``cut`` steps."""
    n = parent.size
    order = np.argsort(-time)  # the latest first: a region's parent before it
    label, depth_of, parent_of = np.full(n, -1, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
    count = 0
    for p in order:
        if time[p] < cut:
            label[p] = label[parent[p]]
            continue
        label[p] = count
        above = parent[p]
        parent_of[count] = label[above] if above >= 0 else -1
        depth_of[count] = depth_of[parent_of[count]] + 1 if above >= 0 else 0
        count += 1
    return label, parent_of[:count].copy(), depth_of[:count].copy()


def nest(parent: Ints, time: Ints, cut: int, shape: tuple[int, ...]) -> Nested:
    labels, above, depth = _cut(parent, time, cut)
    return Nested(labels.reshape(shape), above, depth)


@kernel
def at_depth(labels: Ints, parent: Ints, depth: Ints, wanted: int, clear: npt.NDArray[np.bool_]) -> Ints:
    """(H, W): for each pixel the region of depth ``wanted`` that it belongs to, or -1; -1 too for what is ``clear``
    (n,), and for what joined that."""
    n = parent.size
    owner = np.empty(n, np.int32)
    for r in range(n):
        owner[r] = -1 if depth[r] < wanted or clear[r] else (r if depth[r] == wanted else owner[parent[r]])
    height, width = labels.shape
    found = np.empty((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            found[y, x] = owner[labels[y, x]]
    return found
