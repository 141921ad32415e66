"""The captioner of a gateway process."""

from __future__ import annotations

import asyncio

from fastapi import Request

from serve.ensembles.captioner.captioner import Captioner, open_captioner


async def captioner_of(request: Request) -> Captioner:
    """Opened at the first request for it."""
    state = request.app.state
    if not hasattr(state, "captioner"):
        state.captioner = await asyncio.to_thread(open_captioner, state.settings.illustrator, state.illustrator)
    found: Captioner = state.captioner
    return found
