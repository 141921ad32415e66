"""Fixtures of the key tests: both databases, and a clock that tests set."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from access_site import SITE, Clock

from serve.security.identity.keys import Keys
from serve.state import State


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def keys(state: State, clock: Clock) -> AsyncIterator[Keys]:
    service = Keys(state, SITE, clock)
    yield service
    await service.close()
