"""Dependency of routes that need the database and the object store."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from serve.errors import StateUnavailable
from serve.state import State


async def state_of(connection: HTTPConnection) -> State:
    """Of a request or a WebSocket. Raises StateUnavailable as long as there is none."""
    state: State | None = getattr(connection.app.state, "state", None)
    if state is None:
        raise StateUnavailable("the database is not open; try again")
    return state


StateOf = Annotated[State, Depends(state_of)]
