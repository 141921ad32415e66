"""What the routes of a process share to reach other servers: the fetcher of pictures, the language model."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from serve.security.fetching.chat_service import OpenAIChat, remote_chat_at
from serve.security.fetching.fetcher import Fetcher


async def fetcher_of(request: Request) -> Fetcher:
    """The fetcher of this process."""
    state = request.app.state
    if not hasattr(state, "fetcher"):
        state.fetcher = Fetcher(state.settings.fetch)
    fetcher: Fetcher = state.fetcher
    return fetcher


PictureFetcher = Annotated[Fetcher, Depends(fetcher_of)]


def remote_chat_of(request: Request) -> OpenAIChat | None:
    """That of this process at ``director.base_url``, with one queue for all callers; None without the setting."""
    state = request.app.state
    if not hasattr(state, "remote_chat"):
        state.remote_chat = remote_chat_at(state.settings.director)
    found: OpenAIChat | None = state.remote_chat
    return found
