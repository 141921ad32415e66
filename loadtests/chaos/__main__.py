"""``python -m loadtests.chaos``: kills and freezes the parts of a stack under load, and counts what its clients see.

Starts a stack of its own on servers of its own. Prints a table and how long it took, writes the table and a JSON file
with all figures to ``var/chaos`` (after each site, what is known by then), and exits with 1 when a goal was missed: a
request was lost, answered wrongly, or with an error that does not say when to come again, or recovery took too long. It
says which.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from loadtests.chaos import report
from loadtests.chaos.faults import FAULTS, Fault
from loadtests.chaos.runner import SHORT, Outcome, Pace, drive
from loadtests.chaos.site import missing, site
from loadtests.vectorize.measure import ROOT

MOST_ERRORS = 100
SHORT_S = 300.0
"""What ``--short`` is meant to take, on a machine that does nothing else."""


def main() -> None:
    words = parser()
    arguments = words.parse_args()
    if arguments.list:
        print("\n".join(f"{fault.name:<28} on {fault.site}" for fault in FAULTS.values()))
        return
    if unknown := {*(arguments.only or ()), *arguments.without} - FAULTS.keys():
        words.error(f"no such fault: {', '.join(sorted(unknown))}; see --list")
    chosen = [fault for name, fault in FAULTS.items() if name in (arguments.only or FAULTS.keys() - arguments.without)]
    if arguments.short and not arguments.only:
        chosen = [fault for fault in chosen if fault.short]
    if why := cannot(chosen):
        sys.exit("\n".join(why))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is stopped then, too
    missed, errors = run(chosen, arguments)
    for reason in missed:
        report.say(f"goal missed: {reason}")
    if missed:
        print("\n".join(["the stack's own errors:", *errors[:MOST_ERRORS]]), file=sys.stderr)
    sys.exit(1 if missed else 0)


def parser() -> argparse.ArgumentParser:
    failures = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    failures.add_argument("--list", action="store_true", help="print the faults, and end")
    failures.add_argument(
        "--only", action="append", metavar="NAME", help="this fault alone; may be given several times"
    )
    failures.add_argument("--without", action="append", metavar="NAME", default=[], help="all but this fault; likewise")
    failures.add_argument("--short", action="store_true", help="the most telling faults, in five minutes")
    failures.add_argument("--replicas", type=int, default=2, help="of each deployment")
    failures.add_argument("--goal-s", type=float, default=report.GOAL_S, help="recovery, at most")
    failures.add_argument("--reports", type=Path, default=ROOT / "var" / "chaos")
    return failures


def run(chosen: Sequence[Fault], arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Prints the table, and how long all took with starts and stops of stacks. Which goals were missed, in words, and
    what the stacks logged as errors."""
    outcomes: list[Outcome] = []
    text = surplus = ""
    errors: list[str] = []
    pace = SHORT if arguments.short else Pace()
    began, took_s = time.monotonic(), 0.0
    head = f"{arguments.replicas} replicas of each deployment"
    for kind, group in itertools.groupby(chosen, key=lambda fault: fault.site):
        with site(kind, arguments.replicas) as started:
            report.say(f"a stack with {head}, on {kind}")
            found, twice = asyncio.run(drive(started, list(group), pace, report.say))
            outcomes += found
            surplus += twice
            errors += started.errors()
        took_s = time.monotonic() - began
        settings = {"replicas": arguments.replicas, "took_s": took_s}
        text = report.write(arguments.reports / "chaos", head, outcomes, settings, arguments.goal_s)
    print(report.failures(outcomes), file=sys.stderr)
    print(text)
    print("\n" + report.took(took_s, SHORT_S if arguments.short else None))
    return report.missed(outcomes, [fault.name for fault in chosen], surplus, arguments.goal_s), errors


def cannot(chosen: Sequence[Fault]) -> list[str]:
    """What this machine lacks for some of them, in words, before any is done."""
    found = []
    for kind in dict.fromkeys(fault.site for fault in chosen):
        if why := missing(kind):
            names = ", ".join(repr(fault.name) for fault in chosen if fault.site == kind)
            found.append(f"{names} cannot be done here: {why}; see --without")
    return found


if __name__ == "__main__":
    main()
