"""Scenarios, limits and verdicts of the load tests (D-071)."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from PIL import Image

from loadtests.load.__main__ import command
from loadtests.load.drawings import DRAWINGS, SIZES_PX, all_encoded, encoded
from loadtests.load.memory import kind_of, pss_bytes
from loadtests.load.scenario import FOLDER, Limits, Outcome, broken, limits, outcome, scenarios

ENTRIES = [
    {
        "num_requests": 90,
        "num_failures": 1,
        "start_time": 100.0,
        "last_request_timestamp": 109.0,
        "response_times": {"50": 45, "100": 40, "260": 5},
    },
    {
        "num_requests": 10,
        "num_failures": 1,
        "start_time": 101.0,
        "last_request_timestamp": 110.0,
        "response_times": {"100": 9, "400": 1},
    },
]


def test_every_named_number_of_callers_is_a_scenario() -> None:
    known = scenarios()
    assert {known[f"callers_{n}"].callers for n in (1, 10, 50, 100)} == {1, 10, 50, 100}
    stress = {(known[f"stress_{n}"].callers, known[f"stress_{n}"].run_time_s) for n in (10, 50, 100)}
    assert stress == {(10, 300), (50, 600), (100, 900)}


def test_limits_name_only_known_scenarios_and_override_the_default() -> None:
    named = {line.split(":")[0] for line in (FOLDER / "limits.yaml").read_text().splitlines() if line[0] not in "# "}
    assert named - {"default"} <= set(scenarios())
    assert limits("callers_1").p95_ms < limits("stress_100").p95_ms
    assert limits("callers_1").failure_ratio == 0.0


def test_the_verdict_is_on_all_endpoints_together() -> None:
    assert outcome(ENTRIES) == Outcome(100, 2, 100.0, 260.0, 10.0)
    assert outcome([]) == Outcome(0, 0, 0.0, 0.0, 0.0)


def test_each_limit_is_judged() -> None:
    good = Outcome(100, 0, 50.0, 100.0, 10.0)
    assert broken(good, Limits(0.0, 100.0, 10.0)) == []
    assert "1 of 100 requests failed" in broken(Outcome(100, 1, 50, 100, 10), Limits(0.0, 100, 10))[0]
    assert "p95" in broken(good, Limits(0.0, 99.0, 10.0))[0]
    assert "requests/s" in broken(good, Limits(0.0, 100.0, 11.0))[0]
    assert broken(Outcome(0, 0, 0, 0, 0), Limits(0.0, 100, 0)), "no request at all is a failure"


def test_drawings_differ_and_are_pictures_of_their_size() -> None:
    files = all_encoded()
    assert len(set(files)) == len(files) == len(DRAWINGS) * (len(SIZES_PX) + 1)
    for size in SIZES_PX:
        assert Image.open(io.BytesIO(encoded("gradient", size))).size == (size, size)
    assert Image.open(io.BytesIO(encoded("text", 512, "JPEG"))).format == "JPEG"


def test_locust_loads_the_users() -> None:
    line = command(scenarios()["smoke"], "http://127.0.0.1:1", "127.0.0.1:1", "auto", FOLDER / "unused")
    listed = subprocess.run([*line[:5], "--list"], capture_output=True, text=True, timeout=60, check=True)
    assert {"HttpCaller", "GrpcCaller"} <= set((listed.stdout + listed.stderr).split())


def test_memory_counts_a_tree_and_its_children() -> None:
    held = subprocess.Popen([sys.executable, "-c", "x = bytearray(50_000_000); print(1, flush=True); input()"],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert held.stdout is not None
        held.stdout.readline()
        alone = sum(pss_bytes([held.pid]).values())
        assert alone > 50_000_000
        assert sum(pss_bytes([os.getpid()]).values()) > alone
    finally:
        held.communicate(b"\n", timeout=10)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ray::ServeReplica:default:Vectorizer", "replicas"),
        ("/x/tritonserver --model-repository=/y", "Triton"),
        ("/x/triton_python_backend_stub model.py", "Triton backends"),
        ("haproxy -f /tmp/haproxy.cfg", "proxy"),
        ("sleep 5", "other"),
    ],
)
def test_kinds_of_process(line: str, kind: str) -> None:
    assert kind_of(line.split()) == kind
