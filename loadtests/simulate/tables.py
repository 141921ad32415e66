"""What the simulation prints, as Markdown, from what it found."""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.simulate.clock import Clock
from loadtests.simulate.curve import Curve
from loadtests.simulate.replica import Done, Replica, StepLevel
from loadtests.simulate.routing import ROUTES
from loadtests.simulate.scaling import Policy, burst, settled_s
from loadtests.simulate.simulation import BATCHING, OURS, Demand, Result, Site, pictures, simulate
from loadtests.vectorize.table import markdown

COLUMNS = ["p50 s", "p95 s", "p99 s", "p95 slowdown", "pictures/s", "GPU busy", "short to long", "steps wasted"]
LEAST, A_GPU = 4000, 100
"""Requests of a run: at least, and for each GPU."""


def cells(found: Result) -> list[str]:
    times = [f"{found.latency_s(share):.2f}" for share in (0.5, 0.95, 0.99)]
    return [
        *times,
        f"{found.slowdown(0.95):.1f}",
        f"{found.per_second:.1f}",
        f"{found.utilisation:.0%}",
        f"{found.unfairness:.2f}",
        f"{found.wasted:.1%}",
    ]


def run(curve: Curve, way: str, gpus: int, load: float, demand: Demand, route: str = "power of two") -> Result:
    """``load``: share of the most pictures that the GPUs can draw with the best batch."""
    rate = load * gpus * curve.per_second(demand.mean_steps)
    requests = pictures(max(LEAST, A_GPU * gpus), rate, demand, curve, 1)
    return simulate(Site(curve, BATCHING[way], gpus, route), requests)


def batching(curve: Curve, gpus: Sequence[int], loads: Sequence[float], demand: Demand) -> str:
    """What cannot keep up at a load is left to its growing queue: its times are those of the run's length."""
    rows = []
    for count in gpus:
        for load in loads:
            for way in BATCHING:
                found = run(curve, way, count, load, demand)
                rows.append([f"{count}", f"{load:.0%}", way, *cells(found)])
    return markdown([f"{curve.name}: GPUs", "load", "batching", *COLUMNS], rows)


def cancels(curve: Curve, loads: Sequence[float], demand: Demand) -> str:
    rows = [
        [f"{load:.0%}", way, *cells(run(curve, way, 10, load, Demand(demand.steps, 0.2)))]
        for load in loads
        for way in BATCHING
    ]
    return markdown([f"{curve.name}, 10 GPUs, a fifth cancelled: load", "batching", *COLUMNS], rows)


def places(curve: Curve, load: float, demand: Demand, tried: Sequence[int] = (8, 16, 32, 64)) -> str:
    """How many pictures a replica draws at once. While some are between two steps others have to fill the batch."""
    rows = []
    for count in tried:
        requests = pictures(LEAST, load * curve.per_second(demand.mean_steps), demand, curve, 1)

        def make(clock: Clock, curve: Curve, done: Done, count: int = count) -> Replica:
            return StepLevel(clock, curve, done, count)

        rows.append([str(count), *cells(simulate(Site(curve, make, 1), requests))])
    return markdown([f"{curve.name}, one GPU, load {load:.0%}: pictures at once", *COLUMNS], rows)


def routing(curve: Curve, gpus: Sequence[int], loads: Sequence[float], demand: Demand) -> str:
    rows = []
    for count in gpus:
        for load in loads:
            for route in ROUTES:
                found = run(curve, OURS, count, load, demand, route)
                rows.append([f"{count}", f"{load:.0%}", route, *cells(found)])
    return markdown([f"{curve.name}, steps batched: GPUs", "load", "routing", *COLUMNS], rows)


def scaling(curve: Curve, demand: Demand, delays_s: Sequence[float] = (0.0, 5.0, 30.0)) -> str:
    """One replica at half of what it can do; then six times as much for ten minutes."""
    rows = []
    calm_s, busy_s = 60.0, 600.0
    rate = 0.5 * curve.per_second(demand.mean_steps)
    limit_s = 3 * curve.alone_s(max(demand.steps))
    for delay_s in delays_s:
        requests = pictures(int(calm_s * rate), rate, demand, curve, 1)
        after = pictures(int(busy_s * 6 * rate), 6 * rate, demand, curve, 2)
        for one in after:
            one.arrived_s += calm_s
        site = Site(curve, BATCHING[OURS], 1)
        found, scaler = burst(site, [*requests, *after], Policy(upscale_delay_s=delay_s))
        late_s = settled_s(after, calm_s, limit_s)
        rows.append(
            [f"{delay_s:.0f}", f"{late_s:.0f}", f"{len(site.members)}", f"{len(scaler.history)}", *cells(found)]
        )
    header = [
        f"{curve.name}, start {curve.start_s:g} s: upscale delay, s",
        "late requests for, s",
        "replicas at the end",
    ]
    return markdown([*header, "changes", *COLUMNS], rows)
