"""``python -m loadtests.chaos``: kills and freezes the parts of a stack under load, and counts what its clients see.

Starts a stack of its own on servers of its own. Prints a table, writes it with a JSON file to ``var/chaos``, and exits
with 1 when a request was lost or answered wrongly, or a goal was missed: it says which.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import sys
import time
from pathlib import Path

from loadtests.chaos import report
from loadtests.chaos.drive import SHORT, Outcome, Pace, drive
from loadtests.chaos.faults import FAULTS
from loadtests.chaos.site import site
from loadtests.vectorize.measure import ROOT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the faults, and end")
    parser.add_argument("--only", action="append", metavar="NAME", help="this fault alone; may be given several times")
    parser.add_argument("--short", action="store_true", help="the most telling faults, in five minutes")
    parser.add_argument("--replicas", type=int, default=2, help="of each deployment")
    parser.add_argument("--goal-s", type=float, default=report.GOAL_S, help="recovery, at most")
    parser.add_argument("--reports", type=Path, default=ROOT / "var" / "chaos")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{fault.name:<28} on {fault.site}" for fault in FAULTS.values()))
        return
    chosen = [fault for name, fault in FAULTS.items() if name in (arguments.only or FAULTS)]
    if unknown := set(arguments.only or ()) - FAULTS.keys():
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; see --list")
    if arguments.short and not arguments.only:
        chosen = [fault for fault in chosen if fault.short]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is stopped then, too
    outcomes: list[Outcome] = []
    surplus = ""
    for kind, group in itertools.groupby(chosen, key=lambda fault: fault.site):
        with site(kind, arguments.replicas) as started:
            say(f"a stack with {arguments.replicas} replicas of each deployment, on {kind}")
            found, twice = asyncio.run(drive(started, list(group), SHORT if arguments.short else Pace(), say))
            outcomes += found
            surplus += twice
    write(arguments.reports, outcomes, arguments.replicas, arguments.goal_s)
    done = {one.name for one in outcomes}
    missed = [f"{fault.name}: not done" for fault in chosen if fault.name not in done]
    missed += [f"{one.name}: {'; '.join(why)}" for one in outcomes if (why := report.amiss(one, arguments.goal_s))]
    missed += [surplus] if surplus else []
    for reason in missed:
        say(f"goal missed: {reason}")
    sys.exit(1 if missed else 0)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def write(folder: Path, outcomes: list[Outcome], replicas: int, goal_s: float) -> None:
    table = report.table(outcomes, goal_s)
    text = f"{replicas} replicas of each deployment\n\n{table}\n\n{report.notes(outcomes)}\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "chaos.md").write_text(text)
    document = report.document(outcomes, {"replicas": replicas, "goal_s": goal_s}, goal_s)
    (folder / "chaos.json").write_text(json.dumps(document, indent=2))
    print(report.told(outcomes), file=sys.stderr)
    print(text)


if __name__ == "__main__":
    main()
