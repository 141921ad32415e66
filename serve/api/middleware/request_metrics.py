"""How requests at the doors are counted and timed, from their arrival to the end of their answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from serve.errors import AtelierError
from serve.observability.metrics import catalogue

HTTP, GRPC = "http", "grpc"
UNROUTED = "unrouted"
"""The route of requests that were refused before routing, or have none: no path of a client becomes a label."""
ABANDONED = "499"
"""The status of a request whose client went away before its answer began, as nginx has it."""
LATE = "late"
"""The status of a request that was not done by the end that its client had set."""
_OVER = frozenset(["504", "DEADLINE_EXCEEDED"])


@dataclass
class RequestRecord:
    """The labels of a request's metrics, complete at its end."""

    route: str = UNROUTED
    status: str = ABANDONED
    deadline: float | None = None
    """Its client's, of ``monotonic``."""

    @property
    def outcome(self) -> str:
        """A deadline that the client set and missed is `late`; one of the site keeps its status."""
        own = self.deadline is not None and time.monotonic() >= self.deadline
        return LATE if own and self.status in _OVER else self.status


_note: ContextVar[RequestRecord | None] = ContextVar("note", default=None)


def ends_by(deadline: float | None) -> None:
    """The client of the current request wants it done by then; the earliest that it says counts."""
    note = _note.get()
    if note is not None and deadline is not None:
        note.deadline = deadline if note.deadline is None else min(note.deadline, deadline)


@contextlib.contextmanager
def measured(door: str, note: RequestRecord) -> Iterator[None]:
    """``door``: http, websocket or grpc. Probes are not measured: there are many, and no client waits for them."""
    began = time.perf_counter()
    catalogue.REQUESTS_IN_PROGRESS.add(1, door)
    before = _note.set(note)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # a generator that is closed from elsewhere
            _note.reset(before)
        catalogue.REQUESTS_IN_PROGRESS.add(-1, door)
        catalogue.REQUESTS.add(1, door, note.route, note.outcome)
        catalogue.REQUEST_SECONDS.observe(time.perf_counter() - began, door, note.route)


def count_refusal(door: str, error: AtelierError) -> None:
    catalogue.REFUSALS.add(1, door, error.label)
