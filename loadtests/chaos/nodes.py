"""A stack on two machines, of which one goes under load: ``python -m loadtests.chaos.nodes [EVENT ...]``.

Machines are network namespaces on this one: it needs root, iproute2 and PostgreSQL (`make postgresql`). The load is
that of ``loadtests.chaos``, at the first machine's doors. Events: ``leave`` (SIGTERM to `atelier join`), ``kill``
(SIGKILL to all that runs there, its wire cut), ``unplug`` (its wire cut alone). Denoising sleeps: no figure here is
about how fast pictures are drawn. Prints a table, writes it with a JSON file to ``var/chaos``, and exits with 1 when
one of the goals of ``loadtests.chaos`` was missed: it says which.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from loadtests.chaos import report
from loadtests.chaos.faults import Fault
from loadtests.chaos.runner import SHORT, Outcome, Pace, drive
from loadtests.chaos.site import Site as Stack
from loadtests.scaling.machines import missing
from loadtests.scaling.site import DEPLOYMENTS, JOIN, Site, running
from loadtests.vectorize.measure import ROOT
from loadtests.vectorize.table import markdown

EVENTS = ("leave", "kill", "unplug")
UNTOLD = "the others could not be told"
"""What `atelier join` says when it leaves without them."""


def happen(event: str, site: Site, _: Stack) -> str:
    if event == "leave":
        for pid in site.second.pids(JOIN):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    elif event == "kill":
        site.second.kill()
    else:
        site.second.unplug()
    return "the second machine"


def restore(event: str, site: Site) -> None:
    """Once `atelier join` has ended (it has left, or finds when it is plugged in that it was taken for lost), it joins
    again. Raises ``RuntimeError`` when it left and told nobody."""
    site.second.plug()
    site.wait(lambda: not site.second.pids(JOIN))
    if event == "leave" and UNTOLD in site.log(site.second):
        raise RuntimeError(f"it left, and {UNTOLD}")
    site.whole()


def faults(events: Sequence[str], site: Site) -> list[Fault]:
    return [
        Fault(event, "two machines", partial(happen, event, site), restore=partial(restore, event, site))
        for event in events
    ]


def spread(site: Site) -> str:
    lines = [[name, *map(str, site.replicas(name))] for name in DEPLOYMENTS]
    return markdown(["replicas of", "first machine", "second machine"], lines)


def no_cache(values: dict[str, Any]) -> None:
    values["cache"] = {"enabled": False}


def observe(events: Sequence[str], pace: Pace, site: Site) -> tuple[list[Outcome], str]:
    """The outcome of each event on a running ``site``, and in words what the database has that nobody asked for.

    For a process that has not used gRPC before: threads of it would stay on the network where they began.
    """
    with site.first.inside():
        stack = Stack("two machines", site.folder, site.values, site.database)
        return asyncio.run(drive(stack, faults(events, site), pace, report.say))


def measure(events: Sequence[str], pace: Pace) -> tuple[list[Outcome], str, str]:
    """As `observe`, on a site of its own; third, where replicas were before."""
    with running(no_cache) as site:
        before = spread(site)
        return *observe(events, pace, site), before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", nargs="*", metavar="EVENT", help=f"{', '.join(EVENTS)}; default: all")
    parser.add_argument("--short", action="store_true", help="with shorter looks at each")
    parser.add_argument("--goal-s", type=float, default=report.GOAL_S, help="recovery, at most")
    parser.add_argument("--reports", type=Path, default=ROOT / "var" / "chaos")
    arguments = parser.parse_args()
    if unknown := set(arguments.events) - set(EVENTS):
        parser.error(f"no such event: {', '.join(sorted(unknown))}")
    if why := missing():
        sys.exit(f"machines cannot be simulated here: {why}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is ended
    events = arguments.events or EVENTS
    outcomes, surplus, before = measure(events, SHORT if arguments.short else Pace())
    print(report.failures(outcomes), file=sys.stderr)
    print(report.write(arguments.reports / "nodes", before, outcomes, {}, arguments.goal_s))
    missed = report.missed(outcomes, events, surplus, arguments.goal_s)
    for reason in missed:
        report.say(f"goal missed: {reason}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
