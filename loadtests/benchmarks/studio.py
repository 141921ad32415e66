"""Web Vitals and frame times of the web application: ``python -m loadtests.benchmarks.studio [--url URL]``.

Each page is opened in Chromium for the first time, over a line of 10 Mbit/s; then its interactions are measured. Frame
times are those while something is dragged, zoomed or scrolled; those of a page at rest say what the machine can do.
Without ``--url`` a stack is started for it. The studio has to be built (`make studio`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from loadtests.load.stack import running
from loadtests.studio import frames, vitals
from loadtests.studio.browser import PAGES, chromium, fill
from loadtests.studio.frames import Frames
from loadtests.studio.vitals import GOALS, Vitals
from loadtests.vectorize.measure import ROOT
from loadtests.vectorize.table import markdown


def main(arguments_given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="of a running stack without keys")
    parser.add_argument("--rounds", type=int, default=3, help="of each page; the median counts")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "bench" / "studio.json")
    arguments = parser.parse_args(arguments_given)
    with stack(arguments.url) as url, chromium() as browser:
        fill(url)
        pages = {}
        for name, path in PAGES.items():
            found = [vitals.measure(browser, url, path) for _ in range(arguments.rounds)]
            pages[name] = Vitals(**{field: median(getattr(one, field) for one in found) for field in GOALS})
        scenes = dict(frames.measure(browser, url))
    print(vitals_table(pages))
    print()
    print(frames_table(scenes))
    load = os.getloadavg()
    print(f"\nload average {load[0]:.1f}, {load[1]:.1f}, {load[2]:.1f} on {os.cpu_count()} cores at the end")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    measured = {
        "vitals": {name: asdict(one) for name, one in pages.items()},
        "frames": {name: asdict(one) for name, one in scenes.items()},
    }
    arguments.out.write_text(json.dumps({"cores": os.cpu_count(), "load": load, **measured}, indent=1))


@contextlib.contextmanager
def stack(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url.rstrip("/")
        return
    with running() as started:
        yield started.url


def vitals_table(pages: dict[str, Vitals]) -> str:
    goals = ["goal", *(f"{goal:g}" for goal in GOALS.values()), ""]
    rows = [
        [name, f"{one.lcp_ms:.0f}", f"{one.inp_ms:.0f}", f"{one.cls:.3f}", f"{one.script_kb:.0f}", _missed(one)]
        for name, one in pages.items()
    ]
    return markdown(["page", "LCP ms", "INP ms", "CLS", "script kB", "missed"], [*rows, goals])


def _missed(one: Vitals) -> str:
    return ", ".join(name.partition("_")[0].upper() for name in one.missed()) or "none"


def frames_table(scenes: dict[str, Frames]) -> str:
    rows = [
        [
            name,
            f"{one.mean_rate_s:.0f}",
            *(f"{ms:.1f}" for ms in (one.median_ms, one.p95_ms, one.worst_ms)),
            f"{one.late:.1%}",
        ]
        for name, one in scenes.items()
    ]
    return markdown(["while", "frames/s", "median ms", "p95 ms", "worst ms", "late"], rows)


if __name__ == "__main__":
    main()
