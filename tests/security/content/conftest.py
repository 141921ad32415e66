"""An HTTP server of pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from picture_hosts import Host, picture


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with Host({"/a.png": picture()}).listening() as host:
        yield host
