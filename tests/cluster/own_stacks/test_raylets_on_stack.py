"""One stack on two raylets of one machine (A-113, B-054), without root: one of them dies, nothing is lost."""

from __future__ import annotations

import asyncio

import pytest

from loadtests.chaos import report
from loadtests.chaos.faults import Fault
from loadtests.chaos.runner import SHORT, drive
from loadtests.chaos.site import Site
from loadtests.scaling.raylets import DEPLOYMENTS, running

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_replicas_spread_over_raylets_and_one_that_dies_loses_nothing() -> None:
    """`running` waits until each raylet has one of each deployment."""
    with running() as pair:
        assert {name: pair.replicas(name) for name in DEPLOYMENTS} == dict.fromkeys(DEPLOYMENTS, (1, 1))

        def kill(_: Site) -> str:
            pair.second.kill()
            return "the second raylet"

        stack = Site("two raylets", pair.folder, pair.values)
        found, _ = asyncio.run(drive(stack, [Fault("kill", stack.kind, kill)], SHORT, report.say))
        assert not pair.second.commands()
        for one in found:
            assert one.summary.sent >= 10, one
            assert (one.summary.counts["lost"], one.summary.counts["wrong"]) == (0, 0), one
        assert found[0].summary.recovery_s is not None
