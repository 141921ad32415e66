"""One stack on two machines (A-113, B-054): replicas are spread, both machines serve,
and a machine that leaves or dies loses nothing."""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from loadtests.chaos import report
from loadtests.chaos.nodes import no_cache, observe
from loadtests.chaos.runner import BETWEEN, SHORT
from loadtests.scaling.machines import missing
from loadtests.scaling.site import DEPLOYMENTS, METRICS_PORT, Site, running

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.postgresql,
    pytest.mark.skipif(bool(missing()), reason=missing() or "machines can be simulated here"),
]

RECOVERY_S = 60.0
"""As in test_chaos.py: the goal of 10 s is for a machine with nothing else to do."""
UNDER_LOAD = ("leave", "unplug")
"""`make chaos` kills the second machine, too. To the first one that is the same as `unplug`, and that nothing is lost
when processes die at once is tested on two raylets."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running(no_cache) as found:
        yield found


@pytest.mark.timeout(900)
def test_a_machine_that_goes_loses_nothing(site: Site) -> None:
    """The machine leaves, or loses its network, during work. Runs in a separate process on the first machine's
    network."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        outcomes, surplus = process.submit(observe, UNDER_LOAD, SHORT, site).result()
    assert report.missed(outcomes, UNDER_LOAD, surplus, RECOVERY_S) == [], report.table(outcomes, RECOVERY_S)
    found = {one.name: one.summary for one in outcomes}
    assert set(found) == {*UNDER_LOAD, BETWEEN}
    for event in UNDER_LOAD:
        assert found[event].sent >= 10, found[event]
    for quiet in ("leave", BETWEEN):
        assert found[quiet].counts["broken"] == found[quiet].counts["unclear"] == 0, found[quiet]


def test_replicas_spread_and_both_doors_answer(site: Site) -> None:
    assert {name: site.replicas(name) for name in DEPLOYMENTS} == dict.fromkeys(DEPLOYMENTS, (1, 1))
    assert site.answers(site.first)
    assert site.answers(site.second)


def test_prometheus_is_told_of_both_and_both_tell(site: Site) -> None:
    both = [site.first.address, site.second.address]
    wanted = {"ray": [f"{one}:{METRICS_PORT}" for one in both], "haproxy": [f"{one}:9101" for one in both]}
    site.wait(lambda: site.targets() == wanted)
    read = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=60).read().decode())"

    def tells(target: str, name: str) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            return name in site.first.run([sys.executable, "-I", "-c", read, f"http://{target}/metrics"])
        return False

    for target in wanted["ray"]:
        site.wait(partial(tells, target, "ray_atelier_process_cpu_seconds_total"))
    for target in wanted["haproxy"]:
        site.wait(partial(tells, target, "haproxy_frontend_http_requests_total"))


def test_what_takes_pickles_listens_on_the_machines_own_address(site: Site) -> None:
    """Ray's own ports are excluded: docs/SCALING.md lists them and what protects them."""
    for machine in (site.first, site.second):
        listening = machine.run(["ss", "-ltnH"])
        served = re.findall(r"(\S+):(?:30000|40000|8404|9101|8500|9500)\s", listening)
        assert served
        assert {address.strip("[]").removeprefix("::ffff:") for address in served} == {machine.address}


def test_prometheus_is_told_no_more_of_a_machine_that_died(site: Site) -> None:
    site.second.kill()
    site.wait(lambda: site.targets()["ray"] == [f"{site.first.address}:{METRICS_PORT}"])
