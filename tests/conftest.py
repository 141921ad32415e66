"""Fixtures that all tests share."""

from __future__ import annotations

import gc
import os
from collections import Counter
from pathlib import Path

import hypothesis
import pytest
from databases import (  # noqa: F401
    console,
    database,
    database_settings,
    empty_database,
    postgresql,
    postgresql_settings,
    postgresql_template,
    settings,
    sqlite_settings,
    sqlite_template,
    state,
)
from pictures import drawn, encode

# pytest-xdist sets COLUMNS in its workers, which consoles would take for a setting of the test.
os.environ.pop("COLUMNS", None)

# No deadline: the time of an example depends on the machine.
hypothesis.settings.register_profile(
    "atelier", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("atelier")


def pytest_collection_finish() -> None:
    """Freezes imported modules and collected tests: the garbage collector skips them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def logo() -> bytes:
    """A 64 x 64 PNG with transparency."""
    return encode(drawn())


LONGEST_ID = 1000
"""Of a test: ids are copied to each process, and into the environment of the test."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests that need a PostgreSQL server. Tests of the whole stack run last, because it keeps the machine
    busy. Among several processes, the files that take longest come first, so that all end together."""
    items.sort(key=lambda item: "stack" in getattr(item, "fixturenames", ()))
    if "PYTEST_XDIST_WORKER" in os.environ:
        expected_s: Counter[Path] = Counter()
        for item in items:
            expected_s[item.path] += _expected_s(item)  # type: ignore[assignment]
        items.sort(key=lambda item: -expected_s[item.path])
    for item in items:
        assert len(item.nodeid) < LONGEST_ID, f"give the parameters ids: {item.nodeid[:200]}"
        chosen = item.callspec.params if hasattr(item, "callspec") else {}
        kinds = {chosen.get(name) for name in ("database_settings", "empty_database")}
        if "postgresql" in kinds.union(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.postgresql)


def _expected_s(item: pytest.Item) -> float:
    if item.get_closest_marker("slow"):
        return 5.0
    return 0.6 if item.get_closest_marker("triton") else 0.05
