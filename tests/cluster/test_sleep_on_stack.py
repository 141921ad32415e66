"""An Illustrator that may have no replica (A-113, B-054): it falls asleep although it is probed, and work wakes it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from onnx_family import write_onnx_family
from test_jobs_on_stack import add
from whole_stack import ANEW, MARK, PORTS, Stack

from loadtests.load.stack import free_ports

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ILLUSTRATOR = "ray::ServeReplica:atelier:Illustrator"
WAIT_S = 90.0


@pytest.fixture(scope="module")
def sleepy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("sleepy")
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    environment = {
        **os.environ,
        **{f"ATELIER_{name}": str(port) for name, port in ports.items()},
        MARK: str(folder),
        "ATELIER_STATE_DIR": str(folder),
        "ATELIER_DASHBOARD__ENABLED": "false",
        "ATELIER_VECTORIZER__WORKERS": "1",
        "ATELIER_ILLUSTRATOR__MODEL_REPOSITORY": str(write_onnx_family(folder / "family")),
        "ATELIER_ILLUSTRATOR__MIN_REPLICAS": "0",
        "ATELIER_ILLUSTRATOR__AUTOSCALING__DOWNSCALE_TO_ZERO_DELAY_S": "3",
        "ATELIER_ILLUSTRATOR__AUTOSCALING__LOOK_BACK_PERIOD_S": "2",
    }
    running = Stack(*(f"127.0.0.1:{ports[name]}" for name in PORTS[:3]), environment)
    started = running.atelier("up", "--detach")
    assert started.returncode == 0, started.stderr
    yield running
    assert running.atelier("down").returncode == 0


def ready(stack: Stack) -> dict[str, Any]:
    answer = httpx.get(f"http://{stack.http}/health/ready", timeout=15)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.25)


def fall_asleep(stack: Stack) -> None:
    """While somebody asks for its health four times a second."""
    wait_until(lambda: ready(stack).get("asleep") == ["illustrator"])
    wait_until(lambda: not stack.pids(ILLUSTRATOR))


def draw(stack: Stack, seed: int, **headers: str) -> httpx.Response:
    body = {"prompt": "red apple", "seed": seed, "num_inference_steps": 4}
    address = f"http://{stack.http}/v2/models/illustrate/generate"
    return httpx.post(address, json=body, headers=ANEW | headers, timeout=WAIT_S)


def test_it_sleeps_and_is_ready_and_the_first_request_wakes_it(sleepy: Stack) -> None:
    assert draw(sleepy, 1).status_code == 200
    fall_asleep(sleepy)
    told = ready(sleepy)
    assert told["status"] == "ready"
    assert "toy_unet" not in told["engines"]
    assert httpx.get(f"http://{sleepy.http}/v2/models/illustrate/ready").status_code == 200
    assert not sleepy.pids(ILLUSTRATOR), "probes woke it"
    assert draw(sleepy, 2).status_code == 200
    assert "toy_unet" in ready(sleepy)["engines"]


def test_a_deadline_shorter_than_the_start_is_told_when_to_come_again(sleepy: Stack) -> None:
    fall_asleep(sleepy)
    answer = draw(sleepy, 3, **{"X-Request-Timeout": "0.5"})
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    wait_until(lambda: bool(sleepy.pids(ILLUSTRATOR)))
    assert draw(sleepy, 3).status_code == 200


def test_a_job_wakes_it(sleepy: Stack) -> None:
    fall_asleep(sleepy)
    with httpx.Client(base_url=f"http://{sleepy.http}", timeout=30) as client:
        job = add(client, 4)
        wait_until(lambda: client.get(f"/v1/jobs/{job}").json()["status"] == "completed")
