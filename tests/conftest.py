"""Fixtures that all tests share."""

from __future__ import annotations

import os

import hypothesis
import pytest
from databases import database, database_settings, postgresql, settings, state  # noqa: F401
from pictures import drawn, encode

# A process among several is told a width of its terminal, which consoles would take for what a test asks for.
os.environ.pop("COLUMNS", None)

# Machines differ in speed: how long an example takes is not what these tests are about.
hypothesis.settings.register_profile(
    "atelier", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("atelier")


@pytest.fixture(scope="session")
def logo() -> bytes:
    """A 64 x 64 PNG with transparency."""
    return encode(drawn())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs PostgreSQL's server is marked so."""
    for item in items:
        chosen = item.callspec.params if hasattr(item, "callspec") else {}
        if "postgresql" in getattr(item, "fixturenames", ()) or chosen.get("database_settings") == "postgresql":
            item.add_marker(pytest.mark.postgresql)
