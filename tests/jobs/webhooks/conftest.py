"""A site that sends webhooks, and a server that receives them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from webhook_receiver import Receiver
from webhook_site import with_webhooks

from serve.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return with_webhooks(settings)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().listening() as listening:
        yield listening
