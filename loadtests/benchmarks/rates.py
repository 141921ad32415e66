"""1,000 requests a minute of each kind (C-101), and what this machine can do: ``python -m loadtests.benchmarks.rates``.

Requests come at a rate and wait for nobody. Each kind of work is tried at the highest of ``--rates`` first, then at
lower ones until one is within the kind's limits: those below `rates` in loadtests/load/limits.yaml, of the p95, of what
may fail, and of what may not be sent when it is due. What comes from the cache is asked for before, unmeasured: the
rates find a cache that has seen most of it.

Exits with 1 when a kind is within its limits at no rate of ``--least`` a minute or more, told in words. That is the
highest of ``--rates`` unless it is named: what is asked for is what has to be done, and lower rates only tell what is
done instead. For CI on a machine that cannot do 1,000: ``--rates 60``, or ``--least 60`` to be told the highest, too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from loadtests.load.limits import broken, rate_limits
from loadtests.load.run import ROOT, Report, Target, run
from loadtests.load.scenario import Changes, scenario
from loadtests.load.stack import running
from loadtests.vectorize.table import markdown

RATES = (1000.0, 600.0, 400.0, 250.0, 150.0, 100.0, 60.0, 30.0, 15.0)
WARM_UP_RATE, WARM_UP_S = 300.0, 40.0
REPORTS = ROOT / "var" / "load" / "rates"


@dataclass(frozen=True)
class Kind:
    """``name`` as limits.yaml has it, ``description`` as the table does."""

    name: str
    description: str
    changes: Changes


KINDS = (
    Kind("conversions_known", "conversions, most from the cache", Changes("conversions", tier="1", catalogue=60)),
    Kind("pictures_known", "pictures of 4 steps, most from the cache", Changes("illustrate", steps=4, catalogue=60)),
    Kind("tier_1", "conversions, tier 1", Changes("conversions", tier="1", catalogue=0)),
    Kind("tier_2", "conversions, tier 2", Changes("conversions", tier="2", catalogue=0)),
    Kind("tier_3", "conversions, tier 3", Changes("conversions", tier="3", catalogue=0)),
    Kind("pictures_4", "pictures of 4 steps", Changes("illustrate", steps=4, catalogue=0)),
    Kind("pictures_8", "pictures of 8 steps", Changes("illustrate", steps=8, catalogue=0)),
    Kind("pictures_20", "pictures of 20 steps", Changes("illustrate", steps=20, catalogue=0)),
    Kind("jobs", "jobs, 4 steps or tier 1", Changes("jobs", steps=4, tier="1", catalogue=0)),
)


@dataclass(frozen=True)
class RateResult:
    """A kind at a rate a minute. ``exceeded``: which limits, in words; empty when it was answered in time."""

    kind: Kind
    rate: float
    report: Report
    exceeded: Sequence[str]


def run_rates(kind: Kind, rates: Sequence[float], seconds: float, where: Target) -> Iterator[RateResult]:
    """Downwards, to the first rate that is answered in time."""
    bounds = rate_limits(kind.name)

    def run_at(rate: float, seconds: float) -> Report:
        return run(scenario("rate_1000", replace(kind.changes, per_minute=rate, run_time_s=seconds)), where, REPORTS)

    if kind.changes.catalogue:
        run_at(WARM_UP_RATE, WARM_UP_S)
    for rate in rates:
        report = run_at(rate, seconds)
        found = RateResult(kind, rate, report, broken(report.measured, bounds))
        yield found
        if not found.exceeded:
            return


def missed(all_tried: Sequence[RateResult], least: float) -> list[str]:
    """The kinds that were in time at no rate from ``least`` on, in words: what was amiss at the lowest of these, and
    what was done instead."""
    reasons = []
    for kind in dict.fromkeys(one.kind for one in all_tried):
        mine = [one for one in all_tried if one.kind == kind]
        required = [one for one in mine if one.rate >= least]
        if all(one.exceeded for one in required):
            done = next((f"in time at {one.rate:g}" for one in mine if not one.exceeded), "in time at no rate")
            reasons.append(f"{kind.description} at {least:g} a minute: {', '.join(required[-1].exceeded)} ({done})")
    return reasons


HEADER = ["requests", "a minute", "due", "failed", "late", "p50 ms", "p95 ms", "p99 ms", "limit p95", "in time"]


def row(one: RateResult) -> list[str]:
    found, notes = one.report.measured.outcome, one.report.measured.notes
    times = [f"{took:.0f}" for took in (found.p50_ms, found.p95_ms, found.p99_ms, rate_limits(one.kind.name).p95_ms)]
    counts = [f"{notes.due}", f"{found.failures}", f"{notes.late}"]
    return [one.kind.description, f"{one.rate:.0f}", *counts, *times, "no" if one.exceeded else "yes"]


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m loadtests.benchmarks.rates",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="kinds: " + "; ".join(f"{number}: {kind.description}" for number, kind in enumerate(KINDS)),
    )
    options.add_argument("--url", default="", help="the HTTP endpoint of a running stack; default: start one")
    options.add_argument("--grpc", default="127.0.0.1:9000", help="its gRPC endpoint")
    options.add_argument("--seconds", type=float, default=30.0, help="of each rate")
    options.add_argument("--rates", type=float, nargs="+", default=RATES, help="a minute")
    options.add_argument(
        "--least", type=float, help="what each kind has to do a minute; default: the highest of --rates"
    )
    numbers = range(len(KINDS))
    options.add_argument("--kind", type=int, nargs="+", default=numbers, choices=numbers, help="by number, from 0")
    return options


@contextlib.contextmanager
def target(url: str, grpc: str) -> Iterator[Target]:
    if url:
        yield Target(url, grpc, os.environ.get("ATELIER_ACCESS__KEY", ""))
        return
    with running() as started:
        yield Target(started.url, started.grpc, "", [started.pid])


def main(given: Sequence[str] | None = None) -> None:
    arguments = parser().parse_args(given)
    least = arguments.least or max(arguments.rates)
    rates = sorted({*arguments.rates, least}, reverse=True)
    found = []
    with target(arguments.url, arguments.grpc) as where:
        for number in arguments.kind:
            for one in run_rates(KINDS[number], rates, arguments.seconds, where):
                found.append(one)
                print(
                    f"{one.kind.description} at {one.rate:.0f} a minute: {', '.join(one.exceeded) or 'in time'}",
                    flush=True,
                )
    print("\n" + markdown(HEADER, [row(one) for one in found]), flush=True)
    if reasons := missed(found, least):
        sys.exit(f"limits exceeded: {'; '.join(reasons)}")
    print("within the limits")


if __name__ == "__main__":
    main()
