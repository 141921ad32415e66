"""One stack on two machines (A-113, B-054): replicas spread, both doors answer, and one that dies loses nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from loadtests.nodes import measure
from loadtests.scaling.machines import missing
from loadtests.scaling.site import DEPLOYMENTS, Site, running

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.machines,
    pytest.mark.slow,
    pytest.mark.postgresql,
    pytest.mark.skipif(bool(missing()), reason=missing() or "machines can be simulated here"),
]


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


def test_a_machine_that_dies_loses_nothing(site: Site) -> None:
    asked, moment = measure(site, "kill", after_s=25.0)
    assert (asked.lost, asked.wrong) == (0, 0)
    assert any(request.began > moment for request in asked.requests)
    assert site.answers(site.first)
