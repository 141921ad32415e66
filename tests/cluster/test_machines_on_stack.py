"""One stack on two machines (A-113, B-054): replicas spread, both doors answer, and
one that leaves or dies loses nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from loadtests.nodes import measure
from loadtests.scaling.machines import missing
from loadtests.scaling.site import DEPLOYMENTS, Site, running

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.postgresql,
    pytest.mark.skipif(bool(missing()), reason=missing() or "machines can be simulated here"),
]

RECOVERED_S = 25.0
"""`ray.machine_timeout_s` is 10 s; a busy machine takes longer for what follows."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running() as found:
        yield found


def test_replicas_spread_and_both_doors_answer(site: Site) -> None:
    assert {name: site.replicas(name) for name in DEPLOYMENTS} == dict.fromkeys(DEPLOYMENTS, (1, 1))
    assert site.answers(site.first)
    assert site.answers(site.second)


def test_what_takes_pickles_listens_on_the_machines_own_address(site: Site) -> None:
    """Ray's processes are another matter: docs/SCALING.md says what listens where, and what keeps others out."""
    for machine in (site.first, site.second):
        listening = machine.run(["ss", "-ltnH"])
        served = re.findall(r"(\S+):(?:30000|40000|8404|9101|8500|9500)\s", listening)
        assert served
        assert {address.strip("[]").removeprefix("::ffff:") for address in served} == {machine.address}


def test_a_machine_that_leaves_loses_nothing_and_may_come_back(site: Site) -> None:
    """With work under way: its replicas are told to stop, as those of a deployment that gets smaller are."""
    asked, moment = measure(site, "leave", after_s=12.0)
    assert (asked.lost, asked.wrong, asked.retried) == (0, 0, 0)
    assert any(request.began < moment < request.ended for request in asked.requests)
    assert "the others could not be told" not in (site.folder / f"{site.second.address}.log").read_text()
    site.whole()


def test_a_machine_that_dies_loses_nothing(site: Site) -> None:
    """What waits for it is asked again elsewhere: nothing closes the connections of a machine that is gone."""
    asked, moment = measure(site, "kill", after_s=20.0)
    assert (asked.lost, asked.wrong) == (0, 0)
    assert any(request.began > moment for request in asked.requests)
    assert asked.recovered_after_s(moment) < RECOVERED_S
    assert site.answers(site.first)
