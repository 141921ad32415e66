"""The circuit breaker (A-100): when it opens, which trials it admits, and what closes it."""

from __future__ import annotations

from outside import Clock

from serve.releases.fallback.circuit_breaker import CLOSED, HALF_OPEN, OPEN, CircuitBreaker
from serve.settings import BreakerSettings


def made(clock: Clock, **settings: float) -> CircuitBreaker:
    return CircuitBreaker(
        BreakerSettings(**{"failures": 3, "share": 0.5, "window_s": 10, "wait_s": 5, **settings}), "tested", clock
    )


def run_trial(breaker: CircuitBreaker, failed: bool | None) -> None:
    trial = breaker.admit()
    assert trial is not None
    with trial:
        if failed:
            trial.failed()
        elif failed is False:
            trial.succeeded()


def test_opens_at_failure_count_and_share() -> None:
    clock = Clock()
    breaker = made(clock)
    for _ in range(4):
        run_trial(breaker, False)
    for _ in range(3):
        run_trial(breaker, True)
    assert breaker.state == CLOSED, "three of seven are less than half"
    run_trial(breaker, True)
    assert breaker.state == OPEN
    assert breaker.admit() is None


def test_count_alone_opens_when_share_is_zero() -> None:
    breaker = made(Clock(), share=0)
    for _ in range(100):
        run_trial(breaker, False)
    for _ in range(3):
        run_trial(breaker, True)
    assert breaker.state == OPEN


def test_failures_expire_with_the_window() -> None:
    clock = Clock()
    breaker = made(clock)
    for _ in range(20):
        run_trial(breaker, True)
        run_trial(breaker, True)
        clock.now += 11
    assert breaker.state == CLOSED
    assert breaker.counts() == (0, 0)


def test_half_open_breaker_admits_one_trial() -> None:
    clock = Clock()
    breaker = made(clock)
    for _ in range(3):
        run_trial(breaker, True)
    clock.now += 4.9
    assert breaker.admit() is None
    clock.now += 0.2
    assert breaker.state == HALF_OPEN
    probe = breaker.admit()
    assert probe is not None
    assert breaker.admit() is None, "one at a time"
    with probe:
        probe.failed()
    assert breaker.state == OPEN
    assert 4.9 < breaker.wait_s <= 5
    clock.now += 5
    run_trial(breaker, None)
    assert breaker.state == HALF_OPEN, "a cancelled trial does not count"
    run_trial(breaker, False)
    assert breaker.state == CLOSED
    assert breaker.counts() == (0, 0)


def test_trials_admitted_before_opening_are_ignored() -> None:
    clock = Clock()
    breaker = made(clock)
    early, late = breaker.admit(), breaker.admit()
    assert early is not None
    assert late is not None
    for _ in range(3):
        run_trial(breaker, True)
    with early:
        early.succeeded()
    assert breaker.state == OPEN
    clock.now += 5
    run_trial(breaker, False)
    with late:
        late.failed()
    assert breaker.counts() == (0, 0)


def test_memory_is_bounded_by_the_window() -> None:
    clock = Clock()
    breaker = made(clock, failures=10_000, share=1)
    for place in range(20_000):
        clock.now += 0.01
        run_trial(breaker, place % 2 == 0)
    assert len(breaker._buckets) <= 11
    ended, failed = breaker.counts()
    assert 900 <= ended <= 1001
    assert abs(failed - ended / 2) <= 1
