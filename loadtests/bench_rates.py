"""1,000 requests a minute of each kind (C-101), and what this machine can do: ``python -m loadtests.bench_rates``.

Requests come at a rate and wait for nobody. Each kind of work is tried at 1,000 a minute first, then at lower rates
until one is answered in time: p95 within the kind's own limit, no more than 1 % wrong, and sent when they were due.
What comes from the cache is asked for before, unmeasured: the rates find a cache that has seen most of it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loadtests.load.run import ROOT, Report, Target, run
from loadtests.load.scenario import Changes, scenario
from loadtests.load.stack import running
from loadtests.vectorize.table import markdown

RATES = (1000.0, 600.0, 400.0, 250.0, 150.0, 100.0, 60.0, 30.0, 15.0)
FAILURE_RATIO, LATE_RATIO = 0.01, 0.01
WARM_UP_RATE, WARM_UP_S = 300.0, 40.0


@dataclass(frozen=True)
class Kind:
    """``p95_ms``: limit. D-055 has 200, 500 and 1,000 ms for the tiers; C-101 500 ms for everything."""

    name: str
    changes: Changes
    p95_ms: float


KINDS = (
    Kind("conversions, most from the cache", Changes(mix="conversions", catalogue=60, tier="1"), 500),
    Kind("pictures of 4 steps, most from the cache", Changes(mix="illustrate", catalogue=60, steps=4), 500),
    Kind("conversions, tier 1", Changes(mix="conversions", tier="1", catalogue=0), 200),
    Kind("conversions, tier 2", Changes(mix="conversions", tier="2", catalogue=0), 500),
    Kind("conversions, tier 3", Changes(mix="conversions", tier="3", catalogue=0), 1000),
    Kind("pictures of 4 steps", Changes(mix="illustrate", steps=4, catalogue=0), 500),
    Kind("pictures of 8 steps", Changes(mix="illustrate", steps=8, catalogue=0), 500),
    Kind("pictures of 20 steps", Changes(mix="illustrate", steps=20, catalogue=0), 2000),
    Kind("jobs, 4 steps or tier 1", Changes(mix="jobs", steps=4, tier="1", catalogue=0), 2000),
)


def in_time(report: Report, limit_ms: float) -> bool:
    found, notes = report.measured.outcome, report.measured.notes
    return found.failure_ratio <= FAILURE_RATIO and notes.late_ratio <= LATE_RATIO and found.p95_ms <= limit_ms


def tried(
    kind: Kind, rates: Sequence[float], seconds: float, where: Target, folder: Path
) -> Iterator[tuple[float, Report]]:
    """Downwards, to the first rate that is answered in time."""

    def asked(rate: float, seconds: float) -> Report:
        return run(scenario("rate_1000", replace(kind.changes, per_minute=rate, run_time_s=seconds)), where, folder)

    if kind.changes.catalogue:
        asked(WARM_UP_RATE, WARM_UP_S)
    for rate in rates:
        report = asked(rate, seconds)
        yield rate, report
        if in_time(report, kind.p95_ms):
            return


def row(kind: Kind, rate: float, report: Report) -> list[str]:
    found, notes = report.measured.outcome, report.measured.notes
    times = [f"{took:.0f}" for took in (found.p50_ms, found.p95_ms, found.p99_ms)]
    counts = [f"{notes.due}", f"{found.failures}", f"{notes.late}"]
    return [
        kind.name,
        f"{rate:.0f}",
        *counts,
        *times,
        f"{kind.p95_ms:.0f}",
        "yes" if in_time(report, kind.p95_ms) else "no",
    ]


HEADER = ["requests", "a minute", "due", "failed", "late", "p50 ms", "p95 ms", "p99 ms", "limit p95", "in time"]


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="", help="the HTTP door of a running stack; default: start one")
    parser.add_argument("--grpc", default="127.0.0.1:9000", help="its gRPC door")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each rate")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="a minute, the highest first")
    parser.add_argument("--kind", type=int, nargs="+", default=range(len(KINDS)), help="by number, from 0")
    told = parser.parse_args(given)
    with contextlib.ExitStack() as stack:
        if told.url:
            where = Target(told.url, told.grpc, os.environ.get("ATELIER_ACCESS__KEY", ""))
        else:
            started = stack.enter_context(running())
            where = Target(started.url, started.grpc, "", [started.pid])
        rows = []
        for kind in (KINDS[number] for number in told.kind):
            for rate, report in tried(kind, told.rates, told.seconds, where, ROOT / "var" / "load" / "rates"):
                rows.append(row(kind, rate, report))
                print(f"{kind.name} at {rate:.0f} a minute: {rows[-1][-1]}", flush=True)
    print("\n" + markdown(HEADER, rows))


if __name__ == "__main__":
    main()
