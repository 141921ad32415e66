"""Fixtures that all tests share."""

from __future__ import annotations

import gc
import os

import hypothesis
import pytest
from databases import (  # noqa: F401
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

# A process among several is told a width of its terminal, which consoles would take for what a test asks for.
os.environ.pop("COLUMNS", None)

# Machines differ in speed: how long an example takes is not what these tests are about.
hypothesis.settings.register_profile(
    "atelier", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("atelier")


def pytest_collection_finish() -> None:
    """What was imported and collected stays: Python's collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def logo() -> bytes:
    """A 64 x 64 PNG with transparency."""
    return encode(drawn())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs PostgreSQL's server is marked so. What asks the whole stack comes last: while it runs, the machine is
    busy."""
    items.sort(key=lambda item: "stack" in getattr(item, "fixturenames", ()))
    for item in items:
        chosen = item.callspec.params if hasattr(item, "callspec") else {}
        kinds = {chosen.get(name) for name in ("database_settings", "empty_database")}
        if "postgresql" in kinds.union(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.postgresql)
