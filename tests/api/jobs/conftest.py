"""A client of the application with a state, and a worker's hand on its queue."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from jobs_standin import Hand, door_of

from serve.state import State


@pytest.fixture
async def door(state: State) -> AsyncIterator[httpx.AsyncClient]:
    async with door_of(state) as client:
        yield client


@pytest.fixture
async def hand(state: State) -> Hand:
    return await Hand.of(state)
