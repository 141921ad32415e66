"""Where doors take pictures from that a request names by a URL."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from serve.security.fetching.fetcher import Fetcher


async def fetcher_of(request: Request) -> Fetcher:
    """Of this process."""
    state = request.app.state
    if not hasattr(state, "fetcher"):
        state.fetcher = Fetcher(state.settings.fetch)
    fetcher: Fetcher = state.fetcher
    return fetcher


PictureFetcher = Annotated[Fetcher, Depends(fetcher_of)]
