"""A site: requests that come at random, a router, replicas; and what became of the requests."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from loadtests.simulate.clock import Clock
from loadtests.simulate.curve import Curve
from loadtests.simulate.replica import Done, Picture, Replica, RequestLevel, StepLevel
from loadtests.simulate.routing import ROUTES

Make = Callable[[Clock, Curve, Done], Replica]
BATCHING: dict[str, Make] = {
    "steps batched (ours)": StepLevel,
    "requests batched": RequestLevel,
    "one at a time": lambda clock, curve, done: RequestLevel(clock, curve, done, most=1),
}
OURS = "steps batched (ours)"
WARM_UP = 0.2
"""Share of the requests that comes first and does not count: the site was empty."""


@dataclass(frozen=True)
class Demand:
    """``steps`` are equally likely; ``cancels``: share of requests whose caller goes away, evenly spread over what they
    would take alone, twice."""

    steps: Sequence[int] = (8, 30)
    cancels: float = 0.0

    @property
    def mean_steps(self) -> float:
        return sum(self.steps) / len(self.steps)


@dataclass(frozen=True)
class Result:
    """Of the requests that nobody cancelled. ``slowdown``: latency to that of the same picture alone.

    ``per_second`` and ``utilisation`` are of the time in which requests that count came.
    ``unfairness``: mean slowdown of those with the fewest steps to that of those with the most. ``wasted``: share of
    the steps that were computed when their caller had gone.
    """

    latencies_s: Sequence[float]
    slowdowns: Sequence[float]
    per_second: float
    utilisation: float
    unfairness: float
    wasted: float

    def latency_s(self, share: float) -> float:
        return float(np.quantile(self.latencies_s, share)) if len(self.latencies_s) else float("nan")

    def slowdown(self, share: float) -> float:
        return float(np.quantile(self.slowdowns, share)) if len(self.slowdowns) else float("nan")


@dataclass
class Site:
    """``replicas`` of one way to batch behind one way to route."""

    curve: Curve
    make: Make
    replicas: int
    route: str = "power of two"
    seed: int = 1
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.done: list[Picture] = []
        self.members: list[Replica] = []
        self._route = ROUTES[self.route]()
        self._chance = random.Random(self.seed)
        for _ in range(self.replicas):
            self.grow()

    def grow(self) -> None:
        self.members.append(self.make(self.clock, self.curve, self.done.append))

    def take(self, picture: Picture) -> None:
        self._route(self.members, self._chance).take(picture)


def pictures(count: int, per_second: float, demand: Demand, curve: Curve, seed: int) -> list[Picture]:
    """Poisson."""
    chance = np.random.default_rng(seed)
    times = np.cumsum(chance.exponential(1 / per_second, count))
    steps = chance.choice(list(demand.steps), count)
    goes = chance.random(count) < demand.cancels
    patience = chance.random(count) * 2
    return [
        Picture(float(at), int(n), float(at + share * curve.alone_s(int(n))) if gone else None)
        for at, n, gone, share in zip(times, steps, goes, patience, strict=True)
    ]


@dataclass
class Window:
    """From the first request that counts to the last that comes. ``busy_s``: of GPUs, at its begin and at its end."""

    site: Site
    requests: Sequence[Picture]
    busy_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counted = self.requests[int(len(self.requests) * WARM_UP) :]
        self.span_s = self.counted[-1].arrived_s - self.counted[0].arrived_s
        for edge in (self.counted[0], self.counted[-1]):
            self.site.clock.at(edge.arrived_s, self._look)

    def _look(self) -> None:
        now = self.site.clock.now
        self.busy_s.append(sum(one.busy_s - max(0.0, one.free_at_s - now) for one in self.site.members))

    def ended(self) -> int:
        """Pictures that somebody waited for."""
        begin, end = self.counted[0].arrived_s, self.counted[-1].arrived_s
        return sum(one.cancel_s is None and begin < (one.done_s or 0.0) <= end for one in self.requests)


def simulate(site: Site, requests: Sequence[Picture]) -> Result:
    window = Window(site, requests)
    for picture in requests:
        site.clock.at(picture.arrived_s, site.take, picture)
    site.clock.run()
    return result(window)


def result(window: Window) -> Result:
    site, requests = window.site, window.requests
    kept = [one for one in window.counted if one.cancel_s is None and one.done_s is not None]
    waits = np.array([(one.done_s or 0.0) - one.arrived_s for one in kept])
    slow = np.array([wait / site.curve.alone_s(one.steps) for wait, one in zip(waits, kept, strict=True)])
    computed = sum(one.computed for one in requests)
    return Result(
        waits.tolist(),
        slow.tolist(),
        per_second=window.ended() / window.span_s,
        utilisation=(window.busy_s[1] - window.busy_s[0]) / (window.span_s * len(site.members)),
        unfairness=_unfairness(kept, slow),
        wasted=sum(one.wasted for one in requests) / computed if computed else 0.0,
    )


def _unfairness(kept: Sequence[Picture], slow: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    steps = np.array([one.steps for one in kept])
    if not len(steps) or steps.min() == steps.max():
        return 1.0
    return float(slow[steps == steps.min()].mean() / slow[steps == steps.max()].mean())
