"""One scenario against one stack: locust in a process of its own, and the memory of the stack beside it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from loadtests.load.limits import Measured
from loadtests.load.memory import pss_bytes
from loadtests.load.observations import Observations
from loadtests.load.outcome import (
    Entries,
    Outcome,
    Window,
    by_kind,
    by_result,
    by_vocabulary,
    kind_of,
    of_work,
    outcome,
)
from loadtests.load.scenario import Scenario

ROOT = Path(__file__).resolve().parents[2]
START_S = 180.0
"""For locust to start and to write its reports."""
STOP_S = 15.0
"""Beyond the limit of what is under way at the end: it ends by its limit, and counts."""
MEMORY_EVERY_S = 5.0


@dataclass(frozen=True)
class Target:
    """Where the doors are. ``pids``: roots of the stack's processes, if they run here."""

    url: str
    grpc: str
    key: str = ""
    pids: Sequence[int] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """``kinds`` by what was asked for, ``vocabularies`` by the words it was asked in. ``path`` lacks its suffix."""

    scenario: Scenario
    measured: Measured
    kinds: Mapping[str, Outcome]
    vocabularies: Mapping[str, Outcome]
    path: Path


def command(scenario: Scenario, target: Target, path: Path) -> list[str]:
    """Locust, headless; failures are judged by the limits and not by its exit status. The key goes by environment."""
    definition = {**asdict(scenario), "mix": dict(scenario.mix)}
    where = ["--host", target.url, "--grpc-address", target.grpc]
    what = ["--scenario", json.dumps(definition), "--notes", f"{path}.notes.json"]
    reports = ["--html", f"{path}.html", "--csv", str(path), "--csv-full-history", "--json-file", str(path)]
    run = [
        "--headless",
        "--only-summary",
        "--stop-timeout",
        str(math.ceil(scenario.limit_s + STOP_S)),
        "--exit-code-on-error",
        "0",
    ]
    locustfile = str(Path(__file__).with_name("locustfile.py"))
    return [sys.executable, "-m", "locust", "-f", locustfile, *run, *where, *what, *reports]


def run(scenario: Scenario, target: Target, folder: Path) -> Report:
    """Writes locust's HTML, CSV and JSON and what it said (``.log``) into ``folder``.

    Raises ``RuntimeError`` with the end of the log when locust itself fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.resolve() / scenario.name  # locust runs elsewhere
    environment = {**os.environ, "ATELIER_ACCESS__KEY": target.key}
    log = Path(f"{path}.log")
    with Watching(target.pids) as memory, log.open("wb") as said:
        done = subprocess.run(
            command(scenario, target, path),
            stdout=said,
            stderr=said,
            timeout=scenario.run_time_s + scenario.limit_s + STOP_S + START_S,
            cwd=ROOT,
            env=environment,
        )
    if done.returncode:
        raise RuntimeError(f"locust ended with {done.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
    entries = json.loads(Path(f"{path}.json").read_text())
    notes = Observations.read(Path(f"{path}.notes.json"))
    return judged(scenario, entries, notes, memory, path)


def judged(scenario: Scenario, entries: Entries, notes: Observations, memory: Sequence[int], path: Path) -> Report:
    """``entries``: locust's statistics."""
    window, work = Window(notes.began, scenario.run_time_s), of_work(entries)
    errors = sum((notes.errors.get(kind, Counter()) for kind in map(kind_of, work)), Counter[str]())
    measured = Measured(outcome(work, window, errors), notes, memory, by_result(entries, window))
    return Report(scenario, measured, by_kind(entries, window, notes.errors), by_vocabulary(entries, window), path)


class Watching:
    """PSS of the trees below ``pids``, at once, every MEMORY_EVERY_S, and at the end; empty without pids."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._found: list[int] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> list[int]:
        if self._pids:
            self._measure()
            self._thread.start()
        return self._found

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._pids:
            self._thread.join()
            self._measure()

    def _watch(self) -> None:
        while not self._end.wait(MEMORY_EVERY_S):
            self._measure()

    def _measure(self) -> None:
        self._found.append(sum(pss_bytes(self._pids).values()))
