"""A stack on two machines, of which one goes while pictures are drawn: ``python -m loadtests.nodes [EVENT ...]``.

Machines are network namespaces on this one: it needs root, iproute2 and PostgreSQL (`make postgresql`). Callers ask
the first machine's door for known pictures in a closed loop, and again when they are refused. Events: ``leave``
(SIGTERM to `atelier join`), ``kill`` (SIGKILL to all that runs there, its wire cut), ``unplug`` (its wire cut alone).
Denoising sleeps: no figure here is about how fast pictures are drawn.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence

from loadtests.scaling.known import ASKING, PATIENCE_S, Asked, Request
from loadtests.scaling.machines import missing
from loadtests.scaling.site import DEPLOYMENTS, JOIN, Site, running
from loadtests.vectorize.table import markdown

EVENTS = ("leave", "kill", "unplug")
CALLERS, BEFORE_S, AFTER_S = 6, 8.0, 30.0
HEADER = ["the second machine", "requests", "right", "wrong", "asked again", "lost", "right again after s"]


def happen(event: str, site: Site) -> None:
    if event == "leave":
        for pid in site.second.pids(JOIN):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    elif event == "kill":
        site.second.kill()
    else:
        site.second.unplug()


def settle(event: str, site: Site) -> None:
    """Waits until `atelier join` has ended: it has left, or finds when it is plugged in that it was taken for lost."""
    if event == "unplug":
        site.second.plug()
    site.wait(lambda: not site.second.pids(JOIN))


def measure(site: Site, event: str, after_s: float = AFTER_S, callers: int = CALLERS) -> tuple[Asked, float]:
    """What was asked around ``event``, and the event's moment on the monotonic clock, which all processes share."""
    known = ["-m", "loadtests.scaling.known", site.door(site.first), str(BEFORE_S + after_s), str(callers)]
    asking = site.first.popen(known, stdout=subprocess.PIPE, text=True)
    with asking:
        assert asking.stdout is not None
        assert asking.stdout.readline().strip() == ASKING, "the stack did not draw before anything happened"
        time.sleep(BEFORE_S)
        moment = time.monotonic()
        happen(event, site)
        told, _ = asking.communicate(timeout=after_s + 2 * PATIENCE_S)
    settle(event, site)
    requests = [json.loads(line) for line in told.splitlines()]
    if asking.returncode or not any(one["began"] > moment for one in requests):
        raise RuntimeError(f"the callers did not ask on after it; they ended with {asking.returncode}")
    return Asked([Request(**{**one, "refusals": tuple(one["refusals"])}) for one in requests]), moment


def row(event: str, asked: Asked, moment: float) -> list[str]:
    counts = [len(asked.requests), asked.right, asked.wrong, asked.retried, asked.lost]
    return [event, *map(str, counts), f"{asked.recovered_after_s(moment):.1f}"]


def spread(site: Site) -> str:
    lines = [[name, *map(str, site.replicas(name))] for name in DEPLOYMENTS]
    return markdown(["replicas of", "first machine", "second machine"], lines)


def tell(events: Sequence[str]) -> bool:
    """Prints the tables; whether nothing was lost or wrong."""
    lines, refusals, fine = [], Counter[str](), True
    with running() as site:
        print(spread(site), flush=True)
        for event in events:
            site.whole()
            asked, moment = measure(site, event)
            lines.append(row(event, asked, moment))
            refusals.update(word for request in asked.requests for word in request.refusals)
            fine &= asked.lost == asked.wrong == 0
            print(f"\n{event}: done", file=sys.stderr)
    print(f"\n{markdown(HEADER, lines)}")
    if refusals:
        print("\nwhat callers asked again for:", ", ".join(f"{word} {n} times" for word, n in refusals.most_common()))
    return fine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", nargs="*", metavar="EVENT", help=f"{', '.join(EVENTS)}; default: all")
    arguments = parser.parse_args()
    if unknown := set(arguments.events) - set(EVENTS):
        parser.error(f"no such event: {', '.join(sorted(unknown))}")
    if why := missing():
        sys.exit(f"machines cannot be simulated here: {why}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is ended
    if not tell(arguments.events or EVENTS):
        sys.exit("requests were lost or wrong")


if __name__ == "__main__":
    main()
