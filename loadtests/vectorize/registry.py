"""Every method of the benchmark, in the order of the tables."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from loadtests.vectorize.ensemble import tiers
from loadtests.vectorize.methods import Method, original, plain_methods, spelled
from loadtests.vectorize.search import searches

SLOW = {
    "vtracer_best40": 120,
    "coverage_best40": 60,
    "random_search": 60,
    "local_search": 60,
    "auto95": 120,
    "auto98": 120,
}
"""Methods that are measured on so many icons only; comparisons are on the pictures that both sides have."""


def all_methods() -> list[Method]:
    return [*plain_methods(), *tiers(), *searches(), original()]


def choose(names: Sequence[str]) -> list[Method]:
    """The methods of those names (all when empty), in the order of the tables; SystemExit for an unknown name.

    A name with a colon is a tracer with parameters: ``coverage:denoise=24:flatness=12``.
    """
    methods = all_methods()
    unknown = {name for name in names if ":" not in name} - {m.name for m in methods}
    if unknown:
        sys.exit(f"no method {', '.join(sorted(unknown))}; there are {', '.join(m.name for m in methods)}")
    return [m for m in methods if not names or m.name in names] + [spelled(name) for name in names if ":" in name]
