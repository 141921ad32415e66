"""`make bench` prints every table in the documents."""

from __future__ import annotations

import subprocess
from pathlib import Path

from loadtests.load.scenario import names

HOME = Path(__file__).parents[3]
ON_A_GPU = {"unet"}
PICTURES = {"gallery"}
"""Draws pictures for the documents, no table."""


def test_make_bench_runs_every_benchmark() -> None:
    description = subprocess.run(
        ["make", "-n", "bench"], cwd=HOME, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    benchmarks = {file.stem for file in HOME.glob("loadtests/benchmarks/*.py")} - {"__init__"}
    missing = {name for name in benchmarks if f"loadtests.benchmarks.{name}\n" not in description.replace(" ", "\n")}
    assert missing == ON_A_GPU | PICTURES
    assert all(command in description for command in ("simulate --validate", "simulate --plot"))
    (loop,) = (line for line in description.splitlines() if "for scenario in" in line)
    scenarios = loop.partition("for scenario in ")[2].partition(";")[0].split()
    assert {"smoke", "short_100", "cached"} <= set(scenarios) <= set(names())
