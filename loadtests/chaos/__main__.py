"""``python -m loadtests.chaos``: kills and freezes the parts of a stack under load, and counts what its clients see.

Starts a stack of its own on servers of its own. Prints a table, writes it with a JSON file to ``var/chaos`` (after each
site, what is known by then), and exits with 1 when a request was lost or answered wrongly, or a goal was missed: it
says which.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtests.chaos import report
from loadtests.chaos.drive import SHORT, Outcome, Pace, drive
from loadtests.chaos.faults import FAULTS, Fault
from loadtests.chaos.site import missing, site
from loadtests.vectorize.measure import ROOT

MOST_ERRORS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the faults, and end")
    parser.add_argument("--only", action="append", metavar="NAME", help="this fault alone; may be given several times")
    parser.add_argument("--without", action="append", metavar="NAME", default=[], help="all but this fault; likewise")
    parser.add_argument("--short", action="store_true", help="the most telling faults, in five minutes")
    parser.add_argument("--replicas", type=int, default=2, help="of each deployment")
    parser.add_argument("--goal-s", type=float, default=report.GOAL_S, help="recovery, at most")
    parser.add_argument("--reports", type=Path, default=ROOT / "var" / "chaos")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{fault.name:<28} on {fault.site}" for fault in FAULTS.values()))
        return
    chosen = [fault for name, fault in FAULTS.items() if name in (arguments.only or FAULTS.keys() - arguments.without)]
    if unknown := {*(arguments.only or ()), *arguments.without} - FAULTS.keys():
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; see --list")
    if arguments.short and not arguments.only:
        chosen = [fault for fault in chosen if fault.short]
    if why := cannot(chosen):
        sys.exit("\n".join(why))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is stopped then, too
    outcomes: list[Outcome] = []
    text = surplus = ""
    errors: list[str] = []
    for kind, group in itertools.groupby(chosen, key=lambda fault: fault.site):
        with site(kind, arguments.replicas) as started:
            report.say(f"a stack with {arguments.replicas} replicas of each deployment, on {kind}")
            found, twice = asyncio.run(drive(started, list(group), SHORT if arguments.short else Pace(), report.say))
            outcomes += found
            surplus += twice
            errors += started.errors()
        head, settings = f"{arguments.replicas} replicas of each deployment", {"replicas": arguments.replicas}
        text = report.write(arguments.reports / "chaos", head, outcomes, settings, arguments.goal_s)
    print(report.told(outcomes), file=sys.stderr)
    print(text)
    missed = report.missed(outcomes, [fault.name for fault in chosen], surplus, arguments.goal_s)
    for reason in missed:
        report.say(f"goal missed: {reason}")
    if missed:
        print("\n".join(["the stack's own errors:", *errors[:MOST_ERRORS]]), file=sys.stderr)
    sys.exit(1 if missed else 0)


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
