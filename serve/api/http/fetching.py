"""Dependency of routes that fetch pictures from URLs in a request."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from serve.security.fetching.fetcher import Fetcher


async def fetcher_of(request: Request) -> Fetcher:
    """The fetcher of this process."""
    state = request.app.state
    if not hasattr(state, "fetcher"):
        state.fetcher = Fetcher(state.settings.fetch)
    fetcher: Fetcher = state.fetcher
    return fetcher


PictureFetcher = Annotated[Fetcher, Depends(fetcher_of)]
