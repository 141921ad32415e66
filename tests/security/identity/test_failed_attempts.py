"""Failed attempts: waiting times that double and are reported, never held, for a bounded number of clients."""

from __future__ import annotations

import pickle  # noqa: TID251 (Ray does: an error has to survive it)
import tracemalloc

import pytest
from access_site import Clock

from serve.errors import TooManyAttempts
from serve.security.identity.failed_attempts import MAX_TRACKED, FailedAttempts, client_group
from serve.settings import AccessSettings

LIMITS = AccessSettings(max_failures=3, wait_s=1.0, wait_max_s=60.0)


def wait_of(attempts: FailedAttempts, name: str) -> int:
    try:
        attempts.check(name)
    except TooManyAttempts as error:
        return error.retry_after_s or 0
    return 0


def test_waits_double_up_to_the_maximum() -> None:
    clock = Clock()
    attempts, waits = FailedAttempts(LIMITS, clock), []
    for _ in range(12):
        attempts.record_failure("a")
        waits.append(wait_of(attempts, "a"))
        clock.now += waits[-1]
        assert wait_of(attempts, "a") == 0, "who waited as long as he was told is not refused again"
    assert waits == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert wait_of(attempts, "b") == 0


def test_count_resets_after_the_maximum_wait() -> None:
    clock = Clock()
    attempts = FailedAttempts(LIMITS, clock)
    for _ in range(5):
        attempts.record_failure("a")
    clock.now += 60.1
    assert attempts.record_failure("a") is False
    assert wait_of(attempts, "a") == 0


def test_many_failures_of_one_client_do_not_overflow() -> None:
    attempts = FailedAttempts(AccessSettings(max_failures=1), Clock())
    for _ in range(100_000):
        attempts.record_failure("a")
    assert wait_of(attempts, "a") == 900
    assert len(attempts) == 1


def test_memory_is_bounded_for_any_number_of_clients() -> None:
    attempts = FailedAttempts(LIMITS, Clock())
    for _ in range(3):
        attempts.record_failure("early")
    for number in range(MAX_TRACKED):
        attempts.record_failure(f"10.0.{number >> 8}.{number & 255}")
    assert len(attempts) == MAX_TRACKED
    assert wait_of(attempts, "early") == 0, "who was quiet for longest is forgotten"
    tracemalloc.start()
    for number in range(3 * MAX_TRACKED):
        attempts.record_failure(f"11.0.{number >> 8}.{number & 255}")
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(attempts) == MAX_TRACKED
    assert grown < 8 * 1024 * 1024


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "unknown"),
        ("x" * 1000, "x" * 64),
        ("ipv4:1.2.3.4:5", "ipv4:1.2.3.4:5"),
    ],
)
def test_client_group_is_an_address_or_a_network(address: str | None, name: str) -> None:
    assert client_group(address) == name


def test_error_keeps_its_wait_when_pickled() -> None:
    error = pickle.loads(pickle.dumps(TooManyAttempts("wait", None, 17)))  # noqa: S301 (our own)
    assert (error.message, error.field, error.retry_after_s, error.status) == ("wait", None, 17, 429)
