"""One gradient through samples of colour: linear along the strongest slope, or radial around the bowl's centre.

The colour profile along a gradient is piecewise linear; stops are added where it needs them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.paints import MAX_STOPS, Floats

Numbers = npt.NDArray[np.float64]

PROFILE_BINS = 24
STOP_TOLERANCE = 2.0
"""Largest deviation from the profile, in 8-bit steps, before another stop is added."""


@kernel
def _bins(u: Numbers, color: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Samples at positions ``u`` (n,) in [0, 1] in up to PROFILE_BINS bins: positions (m,), colours (m, 4), counts."""
    count, position, total = np.zeros(PROFILE_BINS), np.zeros(PROFILE_BINS), np.zeros((PROFILE_BINS, 4))
    for i in range(u.shape[0]):
        b = min(int(u[i] * PROFILE_BINS), PROFILE_BINS - 1)
        count[b] += 1
        position[b] += u[i]
        for c in range(4):
            total[b, c] += color[i, c]
    used = np.nonzero(count)[0]
    return position[used] / count[used], total[used] / count[used].reshape(-1, 1), count[used]


@kernel
def _knots(x: Numbers, y: Numbers) -> Numbers:
    """Positions of stops for the profile ``y`` (m, 4) over ``x`` (m,): one more at the worst place, till it fits."""
    at = np.zeros(MAX_STOPS, np.int64)
    at[1] = x.shape[0] - 1
    k = 2
    while k < MAX_STOPS:
        worst, where = STOP_TOLERANCE, -1
        for s in range(k - 1):
            a, b = at[s], at[s + 1]
            for i in range(a + 1, b):
                w = (x[i] - x[a]) / (x[b] - x[a])
                for c in range(4):
                    e = abs(y[a, c] * (1 - w) + y[b, c] * w - y[i, c])
                    if e > worst:
                        worst, where = e, i
        if where < 0:
            break
        at[k] = where
        k += 1
        at[:k].sort()
    knots = np.empty(k)
    for s in range(k):
        knots[s] = x[at[s]]
    knots[0], knots[k - 1] = 0.0, 1.0
    return knots


@kernel
def _between(knots: Numbers, u: float) -> tuple[int, float]:
    """The stop before ``u``, and how far ``u`` is on the way to the next: 0 to 1."""
    s = 0
    while s < knots.shape[0] - 2 and u > knots[s + 1]:
        s += 1
    return s, (u - knots[s]) / max(1e-9, knots[s + 1] - knots[s])


@kernel
def _stop_colors(knots: Numbers, x: Numbers, y: Numbers, weight: Numbers) -> Numbers:
    """Colours (k, 4) at ``knots`` (k,) by weighted least squares."""
    k = knots.shape[0]
    normal, right = np.eye(k) * 1e-3, np.zeros((k, 4))
    for i in range(x.shape[0]):
        s, w = _between(knots, x[i])
        normal[s, s] += weight[i] * (1 - w) * (1 - w)
        normal[s, s + 1] += weight[i] * w * (1 - w)
        normal[s + 1, s] += weight[i] * w * (1 - w)
        normal[s + 1, s + 1] += weight[i] * w * w
        for c in range(4):
            right[s, c] += weight[i] * (1 - w) * y[i, c]
            right[s + 1, c] += weight[i] * w * y[i, c]
    return np.linalg.solve(normal, right)


@kernel
def _profile(t: Numbers, color: Numbers, offsets: Floats, colors: Floats) -> tuple[int, float, float, float]:
    """Fit a piecewise linear colour over position ``t`` (n,) to ``color`` (n, 4).

    Writes stops to ``offsets`` and ``colors``; returns how many, the range of t, and the RMS error in 8-bit steps
    (0 stops where the positions do not spread).
    """
    low, high = t.min(), t.max()
    if high - low < 1e-6:
        return 0, low, high, 1e9
    u = (t - low) / (high - low)
    x, y, weight = _bins(u, color)
    if x.shape[0] < 2:
        return 0, low, high, 1e9
    knots = _knots(x, y)
    solution = _stop_colors(knots, x, y, weight)
    for s in range(knots.shape[0]):
        offsets[s] = knots[s]
        for c in range(4):
            colors[s, c] = min(255.0, max(0.0, solution[s, c]))
    error = 0.0
    for i in range(t.shape[0]):
        s, w = _between(knots, u[i])
        for c in range(4):
            e = colors[s, c] * (1 - w) + colors[s + 1, c] * w - color[i, c]
            error += e * e
    return knots.shape[0], low, high, math.sqrt(error / t.shape[0])


@kernel
def _plane(x: Numbers, y: Numbers, value: Numbers, quadratic: bool) -> Numbers:
    """Least squares of ``value`` (n, m) on [x, y, 1] or [x, y, 1, x² + y²]; the coefficients (3 or 4, m)."""
    n, m = value.shape
    k = 4 if quadratic else 3
    normal = np.eye(k) * 1e-9
    right = np.zeros((k, m))
    row = np.empty(k)
    for i in range(n):
        row[0], row[1], row[2] = x[i], y[i], 1.0
        if quadratic:
            row[3] = x[i] * x[i] + y[i] * y[i]
        for a in range(k):
            for b in range(k):
                normal[a, b] += row[a] * row[b]
            for c in range(m):
                right[a, c] += row[a] * value[i, c]
    return np.linalg.solve(normal, right)


@kernel
def fit_linear(
    x: Numbers,
    y: Numbers,
    color: Numbers,
    geometry: Floats,
    offsets: Floats,
    colors: Floats,
) -> tuple[int, float]:
    """Linear gradient along the direction in which colour changes most; returns stops and RMS error."""
    slope = _plane(x - x.mean(), y - y.mean(), color, False)
    xx = yy = xy = 0.0
    for c in range(color.shape[1]):
        xx += slope[0, c] * slope[0, c]
        yy += slope[1, c] * slope[1, c]
        xy += slope[0, c] * slope[1, c]
    angle = 0.5 * math.atan2(2 * xy, xx - yy)
    ux, uy = math.cos(angle), math.sin(angle)
    stops, low, high, error = _profile(x * ux + y * uy, color, offsets, colors)
    geometry[0], geometry[1], geometry[2], geometry[3] = ux, uy, low, high
    return stops, error


@kernel
def fit_radial(
    x: Numbers,
    y: Numbers,
    color: Numbers,
    geometry: Floats,
    offsets: Floats,
    colors: Floats,
) -> tuple[int, float]:
    """Radial gradient: the centre from a quadratic fit of luminance, then a local search; stops and RMS error."""
    n = x.shape[0]
    mx, my = x.mean(), y.mean()
    light = np.empty((n, 1))
    for i in range(n):
        light[i, 0] = 0.3 * color[i, 0] + 0.59 * color[i, 1] + 0.11 * color[i, 2] + 0.5 * color[i, 3]
    bowl = _plane(x - mx, y - my, light, True)
    if abs(bowl[3, 0]) < 1e-5:
        return 0, 1e9
    cx, cy = mx - bowl[0, 0] / (2 * bowl[3, 0]), my - bowl[1, 0] / (2 * bowl[3, 0])
    span = max(x.max() - x.min(), y.max() - y.min())
    if abs(cx - mx) > 2 * span or abs(cy - my) > 2 * span:
        return 0, 1e9
    trial_offsets, trial_colors = offsets.copy(), colors.copy()
    t = np.empty(n + 1)
    padded = np.empty((n + 1, 4))
    padded[1:] = color
    best_stops, best = 0, 1e9
    step = span * 0.15
    bx, by = cx, cy
    for round_ in range(5):
        for move in range(5 if round_ == 0 else 4):
            dx = step * (move == 0) - step * (move == 1) if round_ else 0.0
            dy = step * (move == 2) - step * (move == 3) if round_ else 0.0
            nearest, r0 = 0, 1e18
            for i in range(n):
                r = math.hypot(x[i] - bx - dx, y[i] - by - dy)
                t[i + 1] = r
                if r < r0:
                    nearest, r0 = i, r
            t[0] = 0.0
            padded[0] = color[nearest]
            stops, _, high, error = _profile(t, padded, trial_offsets, trial_colors)
            if stops > 0 and error < best:
                best_stops, best = stops, error
                bx, by = bx + dx, by + dy
                geometry[0], geometry[1], geometry[2], geometry[3] = bx, by, high, 0.0
                offsets[:] = trial_offsets
                colors[:] = trial_colors
            if round_ == 0:
                break
        if round_:
            step /= 2
    return best_stops, best
