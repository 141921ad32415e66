"""How requests at the doors are counted and timed, from their arrival to the end of their answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from serve.errors import AtelierError
from serve.metrics import catalogue

HTTP, GRPC = "http", "grpc"
UNROUTED = "unrouted"
"""The route of what was refused before one was looked for, or has none: no path of a client's becomes a label."""
ABANDONED = "499"
"""The status of a request whose client went away before its answer began, as nginx has it."""


@dataclass
class Note:
    """What is told of a request at its end."""

    route: str = UNROUTED
    status: str = ABANDONED


@contextlib.contextmanager
def measured(door: str, note: Note) -> Iterator[None]:
    """``door``: http, websocket or grpc."""
    began = time.perf_counter()
    catalogue.REQUESTS_IN_PROGRESS.add(1, door)
    try:
        yield
    finally:
        catalogue.REQUESTS_IN_PROGRESS.add(-1, door)
        catalogue.REQUESTS.add(1, door, note.route, note.status)
        catalogue.REQUEST_SECONDS.observe(time.perf_counter() - began, door, note.route)


def count_refusal(door: str, error: AtelierError) -> None:
    catalogue.REFUSALS.add(1, door, type(error).__name__)
