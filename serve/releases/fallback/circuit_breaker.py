"""`CircuitBreaker`: blocks calls to a service that fails too often (Nygard, Release It!, 2007, section 5.2).

    closed ──(too many failures)──> open ──(after a wait)──> half-open ──(probe succeeds)──> closed
                                      ^───────(probe fails)─────────────┘

Outcomes are counted in ten buckets per window, so memory does not depend on the load.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from serve.observability.metrics.catalogue import BREAKER_OPEN
from serve.settings import BreakerSettings

BreakerState = Literal["closed", "open", "half-open"]
CLOSED: BreakerState = "closed"
OPEN: BreakerState = "open"
HALF_OPEN: BreakerState = "half-open"
_BUCKETS = 10


@dataclass
class _Bucket:
    number: int
    ended: int = 0
    failed: int = 0


class CircuitBreaker:
    """Breaker of one ensemble or external service, per process, for one event loop. ``clock`` is in seconds."""

    def __init__(self, settings: BreakerSettings, service: str, clock: Callable[[], float] = time.monotonic) -> None:
        """``service``: its name in metrics."""
        self._service = service
        self._settings = settings
        self._clock = clock
        self._buckets: deque[_Bucket] = deque()
        self._opened_at: float | None = None
        self._probe: Trial | None = None
        self._epoch = 0
        BREAKER_OPEN.set(0.0, service)

    @property
    def state(self) -> BreakerState:
        if self._opened_at is None:
            return CLOSED
        return OPEN if self.wait_s > 0 else HALF_OPEN

    @property
    def wait_s(self) -> float:
        """Seconds until it becomes half-open; 0 unless it is open."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._settings.wait_s - self._clock())

    def counts(self) -> tuple[int, int]:
        """(calls, failures) in the window."""
        oldest = self._bucket_number() - _BUCKETS
        while self._buckets and self._buckets[0].number <= oldest:
            self._buckets.popleft()
        return sum(one.ended for one in self._buckets), sum(one.failed for one in self._buckets)

    def admit(self) -> Trial | None:
        """A trial if the call is allowed, else None. Half-open allows one probe at a time."""
        if self._opened_at is None:
            return Trial(self, self._epoch)
        if self.state == OPEN or self._probe is not None:
            return None
        self._probe = Trial(self, self._epoch)
        BREAKER_OPEN.set(0.5, self._service)
        return self._probe

    def record_result(self, trial: Trial, failed: bool | None) -> None:
        """Called by `Trial`. Outcomes of calls begun before the last state change are ignored, except the probe's."""
        if trial is self._probe:
            self._probe = None
            if failed is not None:
                self._set_opened(self._clock() if failed else None)
        elif failed is not None and self._opened_at is None and trial.epoch == self._epoch:
            self._count(failed)

    def _count(self, failed: bool) -> None:
        number = self._bucket_number()
        if not self._buckets or self._buckets[-1].number != number:
            self._buckets.append(_Bucket(number))
        self._buckets[-1].ended += 1
        self._buckets[-1].failed += failed
        ended, failures = self.counts()
        if failures >= self._settings.failures and failures >= self._settings.share * ended:
            self._set_opened(self._clock())

    def _set_opened(self, opened_at: float | None) -> None:
        self._opened_at = opened_at
        BREAKER_OPEN.set(float(opened_at is not None), self._service)
        self._buckets.clear()
        self._epoch += 1

    def _bucket_number(self) -> int:
        return int(self._clock() * _BUCKETS / self._settings.window_s)


class Trial:
    """One call: report its outcome before the block ends. Without a report (cancelled) nothing is counted."""

    def __init__(self, breaker: CircuitBreaker, epoch: int) -> None:
        self.epoch = epoch
        self._breaker = breaker
        self._failed: bool | None = None

    def succeeded(self) -> None:
        self._failed = False

    def failed(self) -> None:
        self._failed = True

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._breaker.record_result(self, self._failed)
