"""A run moment by moment, from what was seen of the replicas and what every request took."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

WINDOW_S = 5.0
"""Over which a moment's p95 is taken: of the requests that ended in it."""


@dataclass(frozen=True)
class Moment:
    """``waiting`` is what is under way beyond the places of the replicas: they give places in order, and no more."""

    second: float
    replicas: int
    under_way: int
    waiting: int
    p95_s: float | None


def timeline(
    replicas: Sequence[tuple[float, int]], requests: Sequence[Mapping[str, float]], places: int
) -> list[Moment]:
    """One moment for each (time, replicas). ``requests`` have ``began`` and ``ended``; a replica has ``places``."""
    start = replicas[0][0]
    began = np.array([request["began"] for request in requests])
    ended = np.array([request["ended"] for request in requests])
    moments = []
    for time, count in replicas:
        under_way = int(((began <= time) & (ended > time)).sum())
        lately = (ended > time - WINDOW_S) & (ended <= time)
        p95_s = float(np.quantile((ended - began)[lately], 0.95)) if lately.any() else None
        moments.append(Moment(time - start, count, under_way, max(0, under_way - places * count), p95_s))
    return moments


def changes(moments: Sequence[Moment]) -> list[Moment]:
    """The first moment, and each with another number of replicas than the one before."""
    found, last = [], -1
    for moment in moments:
        if moment.replicas != last:
            found.append(moment)
        last = moment.replicas
    return found


def highest_p95_s(moments: Sequence[Moment], since: float, until: float) -> float:
    """Between two seconds; NaN where nothing ended."""
    seen = [m.p95_s for m in moments if since <= m.second < until and m.p95_s is not None]
    return max(seen, default=math.nan)
