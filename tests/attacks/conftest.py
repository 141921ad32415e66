"""A site with API keys, its users, and a second site."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from keyed_door import KeyedSite, ada, admin, bob, keyed_site  # noqa: F401

from serve.settings import DatabaseSettings, Settings
from serve.state import State


@pytest.fixture
async def sqlite_state(tmp_path: Path, sqlite_settings: DatabaseSettings) -> AsyncIterator[State]:
    """State in a folder, for tests that do not depend on the kind of database."""
    opened_site = await State.open(Settings(state_dir=tmp_path / "state", database=sqlite_settings))
    yield opened_site
    await opened_site.close()


@pytest.fixture
async def site(sqlite_state: State) -> AsyncIterator[KeyedSite]:
    async with keyed_site(sqlite_state, access={"cache_s": 0.0}) as opened_site:
        yield opened_site
