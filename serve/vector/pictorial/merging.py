"""The merge tree: pixels join into regions, at each step those whose difference is worth the fewest bytes.

Mumford and Shah's functional, minimised greedily (Koepfler, Lopez and Morel, "A multiscale algorithm for image
segmentation by variational method", 1994): joining two regions costs the error that their common mean adds, and saves
the bytes of a path and of their common boundary. Pairs that are each other's cheapest neighbours join in rounds.
In gradients, rings and around large areas such pairs are few: there, all regions join their cheapest neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

REGION_BYTES = 12.0
"""Of SVG text that a region costs beside its boundary."""
PIXEL_BYTES = 0.8
"""Of SVG text that a pixel of boundary costs."""
ROUND_SHARE = 0.3
"""Share of the regions whose cheapest join a round considers."""
PAIRED_SHARE = 0.002
"""Least share of the regions that pairs have to join in a round; under it all that the round considers join, which
costs likeness: a texture of 640 px lost 0.018 of SSIM at a share of 0.01."""


@dataclass(frozen=True)
class MergeTree:
    """``parent`` (n,): the pixel whose region that of each pixel joined, at step ``time`` (n,); the root joined none
    (-1, n). A region is named by one of its pixels, the root of its own merges. ``price`` (n - 1,): error for a byte at
    which each step was worth it. ``boundary`` (n - 1,): pixels of boundary that each step removed."""

    parent: Ints
    time: Ints
    price: Floats
    boundary: Floats
    rounds: int

    def error(self) -> Floats:
        """(n - 1,): the weighted squared error that each step added."""
        return np.asarray(self.price * (REGION_BYTES + PIXEL_BYTES * self.boundary), np.float32)


@kernel
def _dedupe(a: Ints, b: Ints, length: Floats, count: int, n: int) -> int:
    """Merge equal edges among the first ``count`` (a < b), in place; returns how many are left."""
    start = np.zeros(n + 1, np.int32)
    for e in range(count):
        start[a[e] + 1] += 1
    for r in range(n):
        start[r + 1] += start[r]
    order = np.empty(count, np.int32)
    at = start[:n].copy()
    for e in range(count):
        order[at[a[e]]] = e
        at[a[e]] += 1
    place = np.full(n, -1, np.int32)
    left = 0
    new_a, new_b = np.empty(count, np.int32), np.empty(count, np.int32)
    new_length = np.empty(count, np.float32)
    for r in range(n):
        first = left
        for k in range(start[r], start[r + 1]):
            e = order[k]
            other = b[e]
            if place[other] >= first:
                new_length[place[other]] += length[e]
            else:
                place[other] = left
                new_a[left], new_b[left], new_length[left] = r, other, length[e]
                left += 1
    a[:left], b[:left], length[:left] = new_a[:left], new_b[:left], new_length[:left]
    return left


@kernel
def _grid_edges(height: int, width: int) -> tuple[Ints, Ints]:
    count = height * (width - 1) + (height - 1) * width
    a, b = np.empty(count, np.int32), np.empty(count, np.int32)
    e = 0
    for y in range(height):
        for x in range(width):
            p = y * width + x
            if x + 1 < width:
                a[e], b[e] = p, p + 1
                e += 1
            if y + 1 < height:
                a[e], b[e] = p, p + width
                e += 1
    return a, b


@kernel
def _root(into: Ints, r: int) -> int:
    """The region that ``r`` has become part of in this round."""
    while into[r] >= 0:
        if into[into[r]] >= 0:
            into[r] = into[into[r]]
        r = into[r]
    return r


@kernel
def _apart(values: Floats, p: int, q: int) -> np.float32:
    """The squared distance of two rows of ``values``."""
    total = np.float32(0)
    for c in range(values.shape[1]):
        d = values[p, c] - values[q, c]
        total += d * d
    return total


@kernel
def _merge(
    height: int, width: int, colors: Floats, weight: Floats, chroma: Floats, chroma_weight: float, region_bytes: float,
    pixel_bytes: float, round_share: float, paired_share: float,
) -> tuple[Ints, Ints, Floats, Floats, int]:  # fmt: skip
    pixels, channels, tints = height * width, colors.shape[1], chroma.shape[1]
    parent, time = np.full(pixels, -1, np.int32), np.full(pixels, pixels, np.int32)
    price, removed = np.empty(pixels, np.float32), np.empty(pixels, np.float32)
    n = pixels
    name = np.arange(n).astype(np.int32)
    mass, area = weight.copy(), np.ones(n, np.float32)
    mean, tint = colors.copy(), chroma.copy()
    a, b = _grid_edges(height, width)
    count = a.size
    length = np.ones(count, np.float32)
    outline = np.full(n, 4.0, np.float32)
    step = rounds = 0
    limit = np.float32(0)
    cost = np.empty(count, np.float32)
    while n > 1:
        best = np.full(n, -1, np.int32)
        least = np.full(n, np.inf, np.float32)
        for e in range(count):
            p, q = a[e], b[e]
            apart, tinted = _apart(mean, p, q), _apart(tint, p, q)
            error = mass[p] * mass[q] / (mass[p] + mass[q]) * apart
            error += chroma_weight * area[p] * area[q] / (area[p] + area[q]) * tinted
            value = error / (region_bytes + pixel_bytes * length[e])
            # equal costs: pairs in an order that scatters, or flat areas would join one at a time
            value += np.float32(1e-7) * np.float32(((p * 73856093) ^ (q * 19349663)) & 1023)
            cost[e] = value
            if value < least[p]:
                least[p], best[p] = value, e
            if value < least[q]:
                least[q], best[q] = value, e
        limit = max(limit, np.partition(least, int(round_share * (n - 1)))[int(round_share * (n - 1))])
        into = np.full(n, -1, np.int32)
        rounds += 1
        pairs = 0
        for r in range(n):
            e = best[r]
            pairs += a[e] == r and best[b[e]] == e and cost[e] <= limit
        paired = pairs >= paired_share * n
        order = np.arange(n) if paired else np.argsort(least)
        for r in order:
            e = best[r]
            if cost[e] > limit or (paired and (a[e] != r or best[b[e]] != e)):
                continue
            p, q = _root(into, a[e]), _root(into, b[e])
            if p == q:
                continue
            if outline[p] < outline[q] or (outline[p] == outline[q] and area[p] < area[q]):
                p, q = q, p
            into[q] = p  # q joins p
            parent[name[q]], time[name[q]] = name[p], step
            total, pixels_of_both = mass[p] + mass[q], area[p] + area[q]
            price[step], removed[step] = cost[e], length[e]
            if not paired:  # the regions have grown since the costs were taken
                apart, tinted = _apart(mean, p, q), _apart(tint, p, q)
                error = mass[p] * mass[q] / total * apart + chroma_weight * area[p] * area[q] / pixels_of_both * tinted
                price[step] = error / (region_bytes + pixel_bytes * length[e])
            step += 1
            for c in range(channels):
                mean[p, c] += (mean[q, c] - mean[p, c]) * (mass[q] / total)
            for c in range(tints):
                tint[p, c] += (tint[q, c] - tint[p, c]) * (area[q] / pixels_of_both)
            mass[p], area[p] = total, pixels_of_both
            outline[p] += outline[q]
        number = np.empty(n, np.int32)
        left = 0
        for r in range(n):
            if into[r] < 0:
                number[r] = left
                name[left], mass[left], area[left], outline[left] = name[r], mass[r], area[r], outline[r]
                for c in range(channels):
                    mean[left, c] = mean[r, c]
                for c in range(tints):
                    tint[left, c] = tint[r, c]
                left += 1
        for r in range(n):
            if into[r] >= 0:
                number[r] = number[_root(into, r)]
        kept = 0
        for e in range(count):
            p, q = number[a[e]], number[b[e]]
            if p != q:
                a[kept], b[kept], length[kept] = min(p, q), max(p, q), length[e]
                kept += 1
            else:
                outline[p] -= 2 * length[e]
        n = left
        count = _dedupe(a, b, length, kept, n)
    return parent, time, price[:step], removed[:step], rounds


def merge(colors: Floats, weight: Floats, chroma: Floats, chroma_weight: float) -> MergeTree:
    """The tree of a picture: ``colors`` (H, W, c) with the ``weight`` (H, W) of a squared difference, and ``chroma``
    (H, W, t) with one weight for all pixels."""
    height, width = weight.shape
    flat = np.ascontiguousarray(colors.reshape(height * width, -1))
    tints = np.ascontiguousarray(chroma.reshape(height * width, -1))
    return MergeTree(
        *_merge(height, width, flat, np.ascontiguousarray(weight.reshape(-1)), tints, chroma_weight, REGION_BYTES,
                PIXEL_BYTES, ROUND_SHARE, PAIRED_SHARE)
    )  # fmt: skip
