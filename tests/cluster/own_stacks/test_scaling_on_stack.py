"""Replicas of the Illustrator follow the load, to two, to one and to none, and no request fails (A-113,
B-054, D-090). An ensemble with a minimum of none sleeps although it is probed, and work wakes it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from whole_stack import ANEW

from loadtests.benchmarks.scaling import PLACES, STEP_S, replicas, sample, settings
from loadtests.load.stack import Started, running
from loadtests.scaling import stack_metrics
from loadtests.scaling.sleeping import UNET, write_sleeping_family
from loadtests.scaling.steps import drawing
from loadtests.scaling.timeline import Sample

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

CALLERS = 10
WAIT_S = 120.0
SEEDS = itertools.count(1)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    values = settings(write_sleeping_family(tmp_path_factory.mktemp("family") / "models", STEP_S, PLACES), 2)
    values["illustrator"]["min_replicas"] = 0
    delays = {"upscale_delay_s": 1, "downscale_delay_s": 3, "downscale_to_zero_delay_s": 3, "look_back_period_s": 2}
    values["illustrator"]["autoscaling"] |= delays
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack_metrics.ENVIRONMENT.items():
            patch.setenv(name, value)
        with running(values) as found:
            yield found


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, f"not so within {WAIT_S:g} s"
        time.sleep(0.25)


def draw_until(ended: threading.Event, url: str) -> None:
    """One picture after the other, at least one. Raises `httpx.HTTPStatusError` when a request fails."""
    with httpx.Client(base_url=url, timeout=WAIT_S, headers=ANEW) as client:
        while True:
            client.post("/v1/images/generations", json=drawing(next(SEEDS))).raise_for_status()
            if ended.is_set():
                return


def test_replicas_follow_the_load_and_nothing_fails(started: Started) -> None:
    """The last caller continues while the second replica leaves."""
    url, samples = stack_metrics.endpoint(started.targets), list[Sample]()

    def ready() -> int:
        if (one := sample(started, url)) is not None:
            samples.append(one)
        return samples[-1].ready if samples else 0

    wait_until(lambda: ready() == 1 or bool(samples))  # an idle replica may sleep by now
    others, last = threading.Event(), threading.Event()
    with ThreadPoolExecutor(CALLERS) as pool:
        drawing_on = [pool.submit(draw_until, last if n == 0 else others, started.url) for n in range(CALLERS)]
        try:
            wait_until(lambda: ready() == 2 and any(one.waiting for one in samples))
            others.set()
            wait_until(lambda: ready() == 1)
            assert not drawing_on[0].done()
        finally:
            others.set()
            last.set()
        for one in drawing_on:
            one.result()
    assert max(one.replicas for one in samples) == 2
    assert max(one.waiting for one in samples) < CALLERS


def health(started: Started) -> dict[str, Any]:
    answer = httpx.get(f"{started.url}/health/ready", timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def fall_asleep(started: Started) -> None:
    """While its health is requested four times a second."""
    wait_until(lambda: health(started).get("asleep") == ["illustrator"])
    wait_until(lambda: replicas(started.pid) == 0)


def draw(started: Started, **headers: str) -> httpx.Response:
    body = {"prompt": "red apple", "seed": next(SEEDS), "num_inference_steps": 4}
    address = f"{started.url}/v2/models/illustrate/generate"
    return httpx.post(address, json=body, headers=ANEW | headers, timeout=WAIT_S)


def test_it_sleeps_and_is_ready_and_the_first_request_wakes_it(started: Started) -> None:
    assert draw(started).status_code == 200
    fall_asleep(started)
    asleep = health(started)
    assert asleep["status"] == "ready"
    assert UNET not in asleep["engines"]
    assert httpx.get(f"{started.url}/v2/models/illustrate/ready").status_code == 200
    assert replicas(started.pid) == 0, "probes woke it"
    assert draw(started).status_code == 200
    assert UNET in health(started)["engines"]


def test_a_deadline_shorter_than_the_start_is_told_when_to_come_again(started: Started) -> None:
    fall_asleep(started)
    answer = draw(started, **{"X-Request-Timeout": "0.5"})
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    wait_until(lambda: replicas(started.pid) > 0)
    assert draw(started).status_code == 200


def test_a_job_wakes_it(started: Started) -> None:
    fall_asleep(started)
    order = {"prompt": "red apple", "seed": next(SEEDS), "num_inference_steps": 4}
    with httpx.Client(base_url=started.url, timeout=60) as client:
        added = client.post("/v1/jobs", json={"kind": "illustrate", "input": order})
        assert added.status_code == 202, added.text
        path = f"/v1/jobs/{added.json()['id']}"
        wait_until(lambda: client.get(path).json()["status"] == "completed")
