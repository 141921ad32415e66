"""The whole stack, once per session: HAProxy, Ray Serve and Triton, on their own ports, started by the users'
command."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from onnx_family import write_onnx_family
from whole_stack import BODY_TIMEOUT_S, MARK, PORTS, Stack

from loadtests.load.stack import free_ports
from tests.observability.tracing.otlp_collector import Collector, collecting


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Receives the spans of requests whose clients set the sampled flag."""
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    environment = {
        **os.environ,
        **{f"ATELIER_{name}": str(port) for name, port in ports.items()},
        "ATELIER_STATE_DIR": str(folder),
        MARK: str(folder),
        "ATELIER_ILLUSTRATOR__MODEL_REPOSITORY": str(write_onnx_family(folder / "family")),
        # A burst is first accepted as a whole: 64 slots; test_every_request_of_a_crowd_is_answered sends more.
        "ATELIER_VECTORIZER__MAX_ONGOING_REQUESTS": "32",
        "ATELIER_VECTORIZER__MAX_QUEUED_REQUESTS": "64",
        "ATELIER_LIMITS__BODY_TIMEOUT_S": str(BODY_TIMEOUT_S),
        "ATELIER_RAY__METRICS_INTERVAL_S": "2",
        "ATELIER_JOBS__BEAT_S": "0.5",
        "ATELIER_JOBS__LEASE_S": "3",
        "ATELIER_TRACING__ENDPOINT": collector.url,
        "ATELIER_TRACING__TRITON": "true",
        "ATELIER_TRACING__SAMPLE_RATIO": "0",
        "ATELIER_LOGS__FORMAT": "json",
    }
    addresses = [f"127.0.0.1:{ports[name]}" for name in PORTS[:3]]
    running = Stack(*addresses, environment)
    started = running.atelier("up", "--detach")
    assert started.returncode == 0, started.stderr
    yield running
    (folder,) = running.temporary_folders()
    stopped = running.atelier("down")
    assert stopped.returncode == 0, stopped.stderr
    assert not folder.exists()
    assert running.atelier("down").returncode == 0  # a second stop does nothing
