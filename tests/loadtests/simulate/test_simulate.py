"""The simulation of serving, compared with values computed by hand."""

from __future__ import annotations

import pytest

from loadtests.simulate.clock import Clock
from loadtests.simulate.curve import Curve
from loadtests.simulate.curve_files import known, read
from loadtests.simulate.replica import Picture, RequestLevel, StepLevel
from loadtests.simulate.routing import ROUTES
from loadtests.simulate.scaling import Policy, burst
from loadtests.simulate.simulation import BATCHING, OURS, Demand, Site, pictures, simulate
from loadtests.simulate.tables import run

FLAT = Curve("flat", "made up", {1: 100.0, 4: 100.0})
"""Four pictures for the price of one."""
LINEAR = Curve("linear", "made up", {1: 100.0, 4: 400.0})
M = Curve("one at a time", "made up", {1: 100.0})


def test_curve_is_linear_between_measured_points() -> None:
    curve = Curve("x", "made up", {1: 10.0, 4: 40.0, 8: 60.0}, between_ms=2.0, fixed_ms=5.0)
    assert [curve.step_s(n) for n in (1, 2, 4, 6)] == pytest.approx([0.010, 0.020, 0.040, 0.050])
    assert curve.alone_s(10) == pytest.approx(0.125)
    assert curve.gain == pytest.approx(8 / 6)
    for wrong in ({2: 10.0}, {}, {1: 0.0}):
        with pytest.raises(ValueError, match="begins with a batch of 1"):
            Curve("x", "", wrong)


def test_shipped_curves_name_their_source_and_have_the_measured_gain() -> None:
    curves = {name: read(name)[0] for name in known()}
    assert curves["h200_512"].gain == pytest.approx(3.2, abs=0.05)
    assert curves["h200_1024"].gain == pytest.approx(1.0)
    assert all(len(curve.source) > 20 for curve in curves.values())


def test_short_picture_leaves_a_step_batch_early_and_waits_in_a_request_batch() -> None:
    clock, done = Clock(), []
    steps = StepLevel(clock, FLAT, done.append)
    long, short = Picture(0.0, 10), Picture(0.05, 2)
    clock.at(0.0, lambda: steps.take(long))
    clock.at(0.05, lambda: steps.take(short))
    clock.run()
    assert short.done_s == pytest.approx(0.3), "it joined at the next step"
    assert long.done_s == pytest.approx(1.0)
    assert steps.busy_s == pytest.approx(1.0)
    clock, whole = Clock(), []
    requests = RequestLevel(clock, FLAT, whole.append)
    long, short = Picture(0.0, 10), Picture(0.05, 2)
    clock.at(0.0, lambda: requests.take(long))
    clock.at(0.05, lambda: requests.take(short))
    clock.run()
    assert (long.done_s, short.done_s) == (pytest.approx(1.0), pytest.approx(1.2))
    assert requests.load == steps.load == 0


def test_cancelled_picture_leaves_at_its_next_step_or_is_completed() -> None:
    for make, computed, wasted in ((StepLevel, 3, 1), (RequestLevel, 10, 8)):
        clock, done = Clock(), []
        replica = make(clock, FLAT, done.append)
        picture = Picture(0.0, 10, cancel_s=0.25)
        clock.at(0.0, lambda replica=replica, picture=picture: replica.take(picture))
        clock.run()
        assert (picture.computed, picture.wasted) == (computed, wasted)
        assert done == [picture]


def test_slots_bound_concurrent_pictures() -> None:
    clock, done = Clock(), []
    replica = StepLevel(clock, FLAT, done.append, places=1)
    for _ in range(3):
        clock.at(0.0, lambda: replica.take(Picture(0.0, 1)))
    clock.run()
    assert [one.done_s for one in done] == pytest.approx([0.1, 0.2, 0.3])


def test_single_server_queue_matches_the_md1_formula() -> None:
    """M/D/1: the mean wait is rho / (2 (1 - rho)) of the service time."""
    demand, load = Demand((10,)), 0.7
    requests = pictures(40_000, load * M.per_second(10), demand, M, 3)
    found = simulate(Site(M, BATCHING["one at a time"], 1), requests)
    mean_wait = sum(found.latencies_s) / len(found.latencies_s) - 1.0
    assert mean_wait == pytest.approx(load / (2 * (1 - load)), rel=0.08)
    assert found.utilisation == pytest.approx(load, abs=0.02)


def test_batching_without_gain_has_the_same_throughput() -> None:
    rates = {way: run(LINEAR, way, 1, 0.8, Demand()).per_second for way in BATCHING}
    assert max(rates.values()) == pytest.approx(min(rates.values()), rel=0.02)


def test_encoders_and_vaes_take_gpu_time_in_every_batching() -> None:
    curve = Curve("x", "made up", {1: 100.0}, fixed_ms=400.0)
    rates = {way: run(curve, way, 1, 2.0, Demand((6,))) for way in BATCHING}
    for found in rates.values():
        assert found.per_second == pytest.approx(1.0, rel=0.01)
        assert found.utilisation == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("gpus", [1, 200])
def test_throughput_below_saturation_equals_the_load(gpus: int) -> None:
    found, offered = run(FLAT, OURS, gpus, 0.6, Demand()), 0.6 * gpus * FLAT.per_second(19)
    assert found.per_second == pytest.approx(offered, rel=0.05)


def test_share_alone_equals_the_throughput_of_one_at_a_time() -> None:
    (curve,) = read("h200_512")
    found = run(curve, "one at a time", 1, 0.9, Demand())
    assert found.per_second == pytest.approx(curve.share_alone(19) * curve.per_second(19), rel=0.02)


def test_step_batching_is_fairer_to_short_pictures() -> None:
    (curve,) = read("h200_512")
    steps, requests = (run(curve, way, 1, 0.5, Demand()) for way in (OURS, "requests batched"))
    assert steps.slowdown(0.95) < requests.slowdown(0.95)
    assert steps.unfairness < requests.unfairness


def test_every_request_is_drawn_once_by_every_router() -> None:
    demand = Demand(cancels=0.2)
    for route in ROUTES:
        requests = pictures(500, 20.0, demand, FLAT, 5)
        site = Site(FLAT, BATCHING[OURS], 8, route)
        simulate(site, requests)
        assert len(site.done) == 500
        assert all(one.computed == one.steps for one in requests if one.cancel_s is None)
        assert all(replica.load == 0 for replica in site.members)


def test_informed_router_beats_a_random_one() -> None:
    p99 = {route: run(FLAT, OURS, 10, 0.85, Demand(), route).latency_s(0.99) for route in ("random", "power of two")}
    assert p99["power of two"] < p99["random"]


def test_replicas_follow_a_burst_after_the_delay_up_to_the_limit() -> None:
    curve = Curve("x", "made up", {1: 100.0, 4: 100.0}, start_s=10.0)
    requests = pictures(800, 8 * curve.per_second(19), Demand(), curve, 1)
    quick, slow = Site(curve, BATCHING[OURS], 1), Site(curve, BATCHING[OURS], 1)
    _, first = burst(quick, requests, Policy(upscale_delay_s=0, most=6))
    _, second = burst(
        slow, pictures(800, 8 * curve.per_second(19), Demand(), curve, 1), Policy(upscale_delay_s=30, most=6)
    )
    assert len(quick.members) == len(slow.members) == 6
    assert 10 <= first.history[1][0] < 15
    assert second.history[1][0] >= 40
