"""``python -m loadtests.chaos``: kills and freezes the parts of a stack under load, and counts what its clients see.

Starts a stack of its own on servers of its own. Prints a table, writes it with a JSON file to ``var/chaos``, and exits
with 1 when a request was lost or answered wrongly.
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
    write(arguments.reports, outcomes, arguments.replicas)
    if left_out := [fault.name for fault in chosen if fault.name not in {one.fault.name for one in outcomes}]:
        say(f"not done: {', '.join(left_out)}")
    if surplus:
        say(surplus)
    sys.exit(0 if not (left_out or surplus) and all(map(report.is_sound, outcomes)) else 1)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def write(folder: Path, outcomes: list[Outcome], replicas: int) -> None:
    text = f"{replicas} replicas of each deployment\n\n{report.table(outcomes)}\n\n{report.notes(outcomes)}\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "chaos.md").write_text(text)
    (folder / "chaos.json").write_text(json.dumps(report.document(outcomes, {"replicas": replicas}), indent=2))
    print(report.told(outcomes), file=sys.stderr)
    print(text)


if __name__ == "__main__":
    main()
