"""A run moment by moment, from what was seen of the replicas and what every request took."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

WINDOW_S = 5.0
"""Over which a moment's p95 is taken: of the requests that ended in it."""


@dataclass(frozen=True)
class Sample:
    """At a stack, at a ``time`` of the day. ``replicas``: their processes, those that start or end included; ``ready``:
    those that serve; ``waiting``: requests without a turn, as replicas tell it."""

    time: float
    replicas: int
    ready: int
    waiting: int


@dataclass(frozen=True)
class Moment:
    """A look, with ``under_way``, the requests that their callers wait for."""

    second: float
    replicas: int
    ready: int
    under_way: int
    waiting: int
    p95_s: float | None


def timeline(samples: Sequence[Sample], requests: Sequence[Mapping[str, float]]) -> list[Moment]:
    """One moment for each look. ``requests`` have ``began`` and ``ended``."""
    start = samples[0].time
    began = np.array([request["began"] for request in requests])
    ended = np.array([request["ended"] for request in requests])
    moments = []
    for sample in samples:
        under_way = int(((began <= sample.time) & (ended > sample.time)).sum())
        lately = (ended > sample.time - WINDOW_S) & (ended <= sample.time)
        p95_s = float(np.quantile((ended - began)[lately], 0.95)) if lately.any() else None
        moments.append(Moment(sample.time - start, sample.replicas, sample.ready, under_way, sample.waiting, p95_s))
    return moments


def changes(moments: Sequence[Moment]) -> list[Moment]:
    """The first moment, and each with another number of ready replicas than the one before."""
    found, last = [], -1
    for moment in moments:
        if moment.ready != last:
            found.append(moment)
        last = moment.ready
    return found


def highest_p95_s(moments: Sequence[Moment], since: float, until: float) -> float:
    """Between two seconds; NaN where nothing ended."""
    seen = [m.p95_s for m in moments if since <= m.second < until and m.p95_s is not None]
    return max(seen, default=math.nan)
