"""The circuit breaker (A-100): when it opens, whom it lets try, what closes it."""

from __future__ import annotations

from outside import Clock

from serve.releases.fallback.circuit_breaker import CLOSED, HALF_OPEN, OPEN, CircuitBreaker
from serve.settings import BreakerSettings


def made(clock: Clock, **settings: float) -> CircuitBreaker:
    return CircuitBreaker(
        BreakerSettings(**{"failures": 3, "share": 0.5, "window_s": 10, "wait_s": 5, **settings}), "tested", clock
    )


def goes(breaker: CircuitBreaker, failed: bool | None) -> None:
    trial = breaker.admit()
    assert trial is not None
    with trial:
        if failed:
            trial.failed()
        elif failed is False:
            trial.succeeded()


def test_it_opens_after_a_number_that_is_a_share() -> None:
    clock = Clock()
    breaker = made(clock)
    for _ in range(4):
        goes(breaker, False)
    for _ in range(3):
        goes(breaker, True)
    assert breaker.state == CLOSED, "three of seven are less than half"
    goes(breaker, True)
    assert breaker.state == OPEN
    assert breaker.admit() is None


def test_a_number_alone_where_the_share_is_none() -> None:
    breaker = made(Clock(), share=0)
    for _ in range(100):
        goes(breaker, False)
    for _ in range(3):
        goes(breaker, True)
    assert breaker.state == OPEN


def test_failures_are_forgotten_with_the_window() -> None:
    clock = Clock()
    breaker = made(clock)
    for _ in range(20):
        goes(breaker, True)
        goes(breaker, True)
        clock.now += 11
    assert breaker.state == CLOSED
    assert breaker.counts() == (0, 0)


def test_one_may_try_after_the_wait() -> None:
    clock = Clock()
    breaker = made(clock)
    for _ in range(3):
        goes(breaker, True)
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
    goes(breaker, None)
    assert breaker.state == HALF_OPEN, "what was cancelled tells nothing"
    goes(breaker, False)
    assert breaker.state == CLOSED
    assert breaker.counts() == (0, 0)


def test_what_began_before_it_opened_tells_nothing() -> None:
    clock = Clock()
    breaker = made(clock)
    early, late = breaker.admit(), breaker.admit()
    assert early is not None
    assert late is not None
    for _ in range(3):
        goes(breaker, True)
    with early:
        early.succeeded()
    assert breaker.state == OPEN
    clock.now += 5
    goes(breaker, False)
    with late:
        late.failed()
    assert breaker.counts() == (0, 0)


def test_it_needs_no_more_room_for_more_requests() -> None:
    clock = Clock()
    breaker = made(clock, failures=10_000, share=1)
    for place in range(20_000):
        clock.now += 0.01
        goes(breaker, place % 2 == 0)
    assert len(breaker._buckets) <= 11
    ended, failed = breaker.counts()
    assert 900 <= ended <= 1001
    assert abs(failed - ended / 2) <= 1
