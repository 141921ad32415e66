"""The captioner of a gateway process."""

from __future__ import annotations

import asyncio

from fastapi import Request

from serve.api.http.fetching import remote_chat_of
from serve.ensembles.captioner.captioner import Captioner, open_captioner
from serve.ensembles.captioner.describer import Describer, open_describer
from serve.settings import Settings


async def captioner_of(request: Request) -> Captioner:
    """Opened at the first request for it."""
    state = request.app.state
    if not hasattr(state, "captioner"):
        describer = known_describer(request)
        own = state.settings.illustrator
        state.captioner = await asyncio.to_thread(open_captioner, own, state.illustrator, describer)
    found: Captioner = state.captioner
    return found


def known_describer(request: Request) -> Describer | None:
    """That of this process; None where the site's language model sees no pictures, or there is none."""
    state = request.app.state
    if not hasattr(state, "describer"):
        settings: Settings = state.settings
        state.describer = open_describer(settings.director, remote_chat_of(request))
    found: Describer | None = state.describer
    return found
