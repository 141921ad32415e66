"""``python -m loadtests.load SCENARIO``: users on a running stack, with a report and a verdict.

Writes locust's HTML, CSV and JSON reports to var/load. Exits with 1 when a limit of limits.yaml is exceeded, by the
scenario or by the one that it is compared with, and with 3 when none is but one could not be judged (memory of a stack
that does not run here). ``--baseline`` compares with an earlier run that was kept. With ``--stack`` it starts a stack
of its own on free ports, and stops it at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from loadtests.load import baseline_file, tables
from loadtests.load.limits import broken, limits, not_judged
from loadtests.load.run import ROOT, Report, Target, run
from loadtests.load.scenario import Changes, Scenario, mixes, names, scenario
from loadtests.load.stack import running as running_stack
from serve.cluster.http_client import StackClient
from serve.cluster.stack import running_stack as recorded
from serve.settings import Settings

NOT_JUDGED = 3
"""Exit status."""
NOBODY = """no stack answers at {url}.
  Start one:          make run
  or let me do it:    python -m loadtests.load {scenario} --stack   (make load SCENARIO={scenario} ARGS=--stack)
  or say where it is: --url http://HOST:PORT --grpc HOST:PORT, and --key or ATELIER_ACCESS__KEY if it needs a key"""


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m loadtests.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("scenario", choices=names(), help="see loadtests/load/scenarios.yaml")
    where = options.add_argument_group("where")
    where.add_argument("--stack", action="store_true", help="start a stack for this run")
    where.add_argument("--url", default="http://127.0.0.1:8000", help="the HTTP endpoint")
    where.add_argument("--grpc", default="127.0.0.1:9000", help="the gRPC endpoint")
    where.add_argument("--key", default=os.environ.get("ATELIER_ACCESS__KEY", ""), help="default: ATELIER_ACCESS__KEY")
    where.add_argument("--pid", type=int, action="append", help="root of the stack's processes, for its memory")
    what = options.add_argument_group("what is changed of the scenario")
    what.add_argument("--mix", choices=sorted(mixes()), help="which users")
    what.add_argument("--users", type=int, help="at once")
    what.add_argument("--run-time-s", type=float)
    what.add_argument("--per-minute", type=float, help="open-loop requests")
    what.add_argument("--steps", type=int, help="of an illustration")
    what.add_argument("--tier", help="of a conversion: auto, 1, 2, 3")
    what.add_argument("--catalogue", type=int, help="different requests; 0: each is work")
    options.add_argument("--keep", type=Path, metavar="FILE", help="write what a run within its limits came to")
    options.add_argument(
        "--baseline", type=Path, metavar="FILE", help="fail when worse than this run, which --keep wrote"
    )
    options.add_argument("--reports", type=Path, default=ROOT / "var" / "load")
    return options


@contextlib.contextmanager
def target(arguments: argparse.Namespace) -> Iterator[Target]:
    """Exits with what to do when nothing answers."""
    if arguments.stack:
        with running_stack(scenario(arguments.scenario).stack) as started:
            yield Target(started.url, started.grpc, "", [started.pid])
        return
    if not StackClient(arguments.url).reachable():
        sys.exit(NOBODY.format(url=arguments.url, scenario=arguments.scenario))
    yield Target(arguments.url, arguments.grpc, arguments.key, arguments.pid or _pids(arguments.url))


def _pids(url: str) -> list[int]:
    """Of the stack that this machine's settings tell of, if it is the one at ``url``."""
    known = recorded(Settings())
    return [known.pid] if known is not None and known.url == url else []


def changes(arguments: argparse.Namespace) -> Changes:
    changeable = ("mix", "users", "run_time_s", "per_minute", "steps", "tier", "catalogue")
    return Changes(**{name: getattr(arguments, name) for name in changeable})


def summary(report: Report, baseline: Report | None) -> str:
    compared = (baseline.measured, baseline.scenario.name) if baseline is not None else (None, "")
    parts = [
        tables.kinds(report),
        tables.failures(report.kinds),
        tables.beside(report.measured, *compared),
        f"report: {report.path}.html",
    ]
    return "\n\n".join(part for part in parts if part)


def before(name: str, changed: Changes, wanted: Scenario, where: Target, folder: Path) -> Report | None:
    """A run of the baseline scenario with the same mix."""
    if not name:
        return None
    print(f"first {name}, to compare with", flush=True)
    alike = Changes(mix=changed.mix, steps=wanted.steps, tier=wanted.tier, catalogue=wanted.catalogue)
    report = run(scenario(name, alike), where, folder)
    print(tables.kinds(report), flush=True)
    return report


def reasons(report: Report, baseline: Report | None) -> list[str]:
    """Which limits were exceeded: what ran before must be within its own, or it is nothing to compare with."""
    bounds = limits(report.scenario.name)
    if baseline is None:
        return broken(report.measured, bounds)
    name = baseline.scenario.name
    first = [f"{name}: {reason}" for reason in broken(baseline.measured, limits(name))]
    return first + broken(report.measured, bounds, baseline.measured)


def main(given: Sequence[str] | None = None) -> None:
    words = parser()
    arguments = words.parse_args(given)
    changed = changes(arguments)
    wanted, bounds = scenario(arguments.scenario, changed), limits(arguments.scenario)
    try:
        kept = baseline_file.read(arguments.baseline, wanted) if arguments.baseline else None
    except (OSError, ValueError) as error:
        words.error(str(error))
    with target(arguments) as where:
        baseline = before(bounds.baseline, changed, wanted, where, arguments.reports)
        report = run(wanted, where, arguments.reports)
    print(summary(report, baseline), flush=True)
    exceeded, found = reasons(report, baseline), report.measured.outcome
    if kept is not None:
        print(baseline_file.beside(found, kept), flush=True)
        exceeded += baseline_file.worse(found, kept, bounds)
    if exceeded:
        sys.exit(f"limits exceeded: {'; '.join(exceeded)}")
    if arguments.keep:
        baseline_file.keep(report, arguments.keep)
    if unknown := not_judged(report.measured, bounds):
        print(f"within the limits that could be judged; not judged: {'; '.join(unknown)}", file=sys.stderr)
        sys.exit(NOT_JUDGED)
    print("within the limits")


if __name__ == "__main__":
    main()
