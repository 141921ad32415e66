"""Metrics of requests: their count and duration, from the first byte to the end of the answer."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass

from serve.errors import AtelierError
from serve.observability.metrics import catalogue

HTTP, GRPC = "http", "grpc"
UNROUTED = "unrouted"
"""The route label of requests that were refused before routing or match none. A client's path is never a label."""
ABANDONED = "499"
"""The status of a request whose client disconnected before the answer began, as in nginx."""
LATE = "late"
"""The status of a request that missed its client's deadline."""
_DEADLINE_STATUSES = frozenset(["504", "DEADLINE_EXCEEDED"])


@dataclass
class RequestRecord:
    """The labels of a request's metrics, complete at its end."""

    route: str = UNROUTED
    status: str = ABANDONED
    deadline: float | None = None
    """Set by the client; by ``time.monotonic``."""

    @property
    def outcome(self) -> str:
        """`late` if the client's own deadline was missed; for a limit of the site the status itself."""
        missed = self.deadline is not None and time.monotonic() >= self.deadline
        return LATE if missed and self.status in _DEADLINE_STATUSES else self.status


_record: ContextVar[RequestRecord | None] = ContextVar("record", default=None)


def note_deadline(deadline: float | None) -> None:
    """Records the client's deadline for the current request; the earliest one counts."""
    record = _record.get()
    if record is not None and deadline is not None:
        record.deadline = deadline if record.deadline is None else min(record.deadline, deadline)


class measured:
    """Counts and times the block. ``protocol``: http, websocket or grpc. Probes are not measured."""

    __slots__ = ("_began", "_protocol", "_record", "_token")

    def __init__(self, protocol: str, record: RequestRecord) -> None:
        self._protocol = protocol
        self._record = record

    def __enter__(self) -> None:
        self._began = time.perf_counter()
        catalogue.REQUESTS_IN_PROGRESS.add(1, self._protocol)
        self._token = _record.set(self._record)

    def __exit__(self, *_: object) -> None:
        protocol, record = self._protocol, self._record
        try:  # noqa: SIM105  # no calls of its own
            _record.reset(self._token)
        except ValueError:  # a generator that is closed in another context
            pass
        catalogue.REQUESTS_IN_PROGRESS.add(-1, protocol)
        catalogue.REQUESTS.add(1, protocol, record.route, record.outcome)
        catalogue.REQUEST_SECONDS.observe(time.perf_counter() - self._began, protocol, record.route)


def count_refusal(protocol: str, error: AtelierError) -> None:
    catalogue.REFUSALS.add(1, protocol, error.label())
