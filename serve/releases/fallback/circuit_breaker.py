"""`CircuitBreaker`: leaves alone for a while what fails too often (Nygard, Release It!, 2007, section 5.2).

    closed ──(too many failures)──> open ──(after a wait)──> half-open ──(one that goes well)──> closed
                                      ^───────(one that fails)──────────┘

It counts over a window in tenths, so that it needs the same room however much is asked.
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
_TENTHS = 10


@dataclass
class _Bucket:
    number: int
    ended: int = 0
    failed: int = 0


class CircuitBreaker:
    """Of one ensemble or outside service, in one process, for one event loop. ``clock`` is in seconds."""

    def __init__(self, settings: BreakerSettings, service: str, clock: Callable[[], float] = time.monotonic) -> None:
        """``service`` is its name in metrics."""
        self._service = service
        self._settings = settings
        self._clock = clock
        self._tenths: deque[_Bucket] = deque()
        self._opened_at: float | None = None
        self._probe: Trial | None = None
        self._era = 0
        BREAKER_OPEN.set(0.0, service)

    @property
    def state(self) -> BreakerState:
        if self._opened_at is None:
            return CLOSED
        return OPEN if self.wait_s > 0 else HALF_OPEN

    @property
    def wait_s(self) -> float:
        """How long it stays open; 0 when it is not."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._settings.wait_s - self._clock())

    def counts(self) -> tuple[int, int]:
        """What ended in the window, and what of that failed."""
        oldest = self._tenth() - _TENTHS
        while self._tenths and self._tenths[0].number <= oldest:
            self._tenths.popleft()
        return sum(one.ended for one in self._tenths), sum(one.failed for one in self._tenths)

    def admit(self) -> Trial | None:
        """None: leave it alone. Half-open lets one in, and nobody else until that one has ended."""
        if self._opened_at is None:
            return Trial(self, self._era)
        if self.state == OPEN or self._probe is not None:
            return None
        self._probe = Trial(self, self._era)
        BREAKER_OPEN.set(0.5, self._service)
        return self._probe

    def settle(self, trial: Trial, failed: bool | None) -> None:
        """For `Trial`. What began before the state changed, and is no probe, tells nothing any more."""
        if trial is self._probe:
            self._probe = None
            if failed is not None:
                self._turn(self._clock() if failed else None)
        elif failed is not None and self._opened_at is None and trial.era == self._era:
            self._count(failed)

    def _count(self, failed: bool) -> None:
        number = self._tenth()
        if not self._tenths or self._tenths[-1].number != number:
            self._tenths.append(_Bucket(number))
        self._tenths[-1].ended += 1
        self._tenths[-1].failed += failed
        ended, failures = self.counts()
        if failures >= self._settings.failures and failures >= self._settings.share * ended:
            self._turn(self._clock())

    def _turn(self, opened_at: float | None) -> None:
        self._opened_at = opened_at
        BREAKER_OPEN.set(float(opened_at is not None), self._service)
        self._tenths.clear()
        self._era += 1

    def _tenth(self) -> int:
        return int(self._clock() * _TENTHS / self._settings.window_s)


class Trial:
    """One request: say how it went before the block ends. Nothing said, as of one that was cancelled: nothing known."""

    def __init__(self, breaker: CircuitBreaker, era: int) -> None:
        self.era = era
        self._breaker = breaker
        self._failed: bool | None = None

    def went_well(self) -> None:
        self._failed = False

    def failed(self) -> None:
        self._failed = True

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._breaker.settle(self, self._failed)
