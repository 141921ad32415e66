"""A keyed site, its people, and a site that is another's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from keyed_door import KeyedSite, ada, admin, bob, keyed_site  # noqa: F401

from serve.settings import DatabaseSettings, Settings
from serve.state import State


@pytest.fixture
async def here(tmp_path: Path, sqlite_settings: DatabaseSettings) -> AsyncIterator[State]:
    """A state in a folder, for what no database makes a difference to."""
    opened = await State.open(Settings(state_dir=tmp_path / "state", database=sqlite_settings))
    yield opened
    await opened.close()


@pytest.fixture
async def site(here: State) -> AsyncIterator[KeyedSite]:
    async with keyed_site(here, access={"cache_s": 0.0}) as opened:
        yield opened
