"""The running stack, from outside: common clients, invalid input, load, death of a replica."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from google.protobuf import text_format
from pictures import ACCEPTED, REFUSED
from tritonclient.grpc import model_config_pb2
from whole_stack import ANEW, Stack, kill

pytestmark = pytest.mark.cluster

CLIENTS = Path(__file__).parents[2] / "clients"
PYTHON_OF_CLIENTS = Path(__file__).parents[3] / ".venv-clients" / "bin" / "python"


@pytest.fixture
def door(stack: Stack) -> httpx.Client:
    return httpx.Client(base_url=f"http://{stack.http}", timeout=120)


def image_input(kind: object, data: bytes) -> object:
    tensor = kind.InferInput("image", [1], "BYTES")  # type: ignore[attr-defined]
    tensor.set_data_from_numpy(np.array([data], object))
    return tensor


def logo_type_inputs(kind: Any, rows: int, value: float) -> list[Any]:
    """Every input of the engine, filled with ``value``."""
    config = (Path(__file__).parents[3] / "model_repository" / "logo_type" / "config.pbtxt").read_text()
    inputs = []
    for entry in text_format.Parse(config, model_config_pb2.ModelConfig()).input:
        tensor = kind.InferInput(entry.name, [rows, *entry.dims], "FP32")
        tensor.set_data_from_numpy(np.full(tensor.shape(), value, np.float32))
        inputs.append(tensor)
    return inputs


def test_convert_ai_through_the_whole_stack(door: httpx.Client, logo: bytes) -> None:
    """D-060, D-070: success, tier, versions, quality; the same bytes give the same SVG."""
    form = {"tier": "1", "validate": "true"}
    answers = [
        door.post("/api/convert-ai", files={"image": ("a.png", logo)}, data=form, headers=ANEW) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    body = answers[0].json()
    assert body["svg_content"] == answers[1].json()["svg_content"]
    assert body["ai_metadata"]["selected_tier"] == "1"
    assert body["ai_metadata"]["actual_quality"] > 0.9
    assert len(answers[0].headers.get_list("x-request-id")) == 1


def test_health_is_a_real_inference(door: httpx.Client) -> None:
    answer = door.get("/health/ready")
    assert answer.status_code == 200
    assert all(engine["latency_ms"] > 0 for engine in answer.json()["engines"].values())
    assert door.get("/api/ai-health").json()["status"] == "healthy"


@pytest.mark.parametrize("kind", [tritonclient.http, tritonclient.grpc])
def test_stock_triton_client(stack: Stack, kind: object, logo: bytes) -> None:
    client = kind.InferenceServerClient(stack.http if kind is tritonclient.http else stack.grpc)  # type: ignore[attr-defined]
    assert client.is_server_ready()
    assert client.is_model_ready("vectorize")
    result = client.infer("vectorize", [image_input(kind, logo)], parameters={"tier": "1"})
    assert result.as_numpy("svg")[0].startswith(b"<svg")
    assert result.as_numpy("bytes")[0] == len(result.as_numpy("svg")[0])


def test_engines_are_passed_through(stack: Stack) -> None:
    """Metadata, config and statistics are Triton's; so is the response."""
    client = tritonclient.http.InferenceServerClient(stack.http)
    wanted = client.get_model_metadata("logo_type")["inputs"]
    assert [entry["name"] for entry in wanted] == ["embedding", "statistics", "structure"]
    assert client.get_model_config("logo_type")["max_batch_size"] == 64
    tensors = [_halves(entry["name"], (3, int(entry["shape"][-1]))) for entry in wanted]
    probabilities = client.infer("logo_type", tensors).as_numpy("probabilities")
    assert probabilities.shape == (3, 4)
    np.testing.assert_allclose(probabilities.sum(1), 1.0, atol=1e-4)
    statistics = client.get_inference_statistics("logo_type")["model_stats"][0]
    assert int(statistics["inference_count"]) >= 3
    with pytest.raises(tritonclient.utils.InferenceServerException, match="embedding"):
        client.infer("logo_type", [_halves("embedding", (3, 7)), *tensors[1:]])


def _halves(name: str, shape: tuple[int, int]) -> tritonclient.http.InferInput:
    tensor = tritonclient.http.InferInput(name, list(shape), "FP32")
    tensor.set_data_from_numpy(np.full(shape, 0.5, np.float32))
    return tensor


@pytest.mark.parametrize("kind", [tritonclient.http, tritonclient.grpc])
def test_numbers_that_are_not_finite_pass_as_in_triton_itself(stack: Stack, kind: object) -> None:
    client = kind.InferenceServerClient(stack.http if kind is tritonclient.http else stack.grpc)  # type: ignore[attr-defined]
    tensor = kind.InferInput("embedding", [1, 512], "FP32")  # type: ignore[attr-defined]
    for value in (np.nan, -3e38):
        tensor.set_data_from_numpy(np.full((1, 512), value, np.float32))
        assert not np.isfinite(client.infer("tier1", [tensor]).as_numpy("parameters")).all()


def test_kserve_client(stack: Stack, logo: bytes, tmp_path: Path) -> None:
    """KServe's REST and gRPC clients, in their own environment (`make clients`)."""
    assert PYTHON_OF_CLIENTS.exists(), "run `make clients` first"
    picture = tmp_path / "logo.png"
    picture.write_bytes(logo)
    command = [PYTHON_OF_CLIENTS, CLIENTS / "kserve_check.py", stack.http, stack.grpc, picture]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [key for key, value in told.items() if value not in (True, "<svg")] == []


def test_command_line_uses_the_stack(stack: Stack, logo: bytes, tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / f"{index}.png").write_bytes(logo)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    done = stack.atelier("vectorize", str(tmp_path), "-o", str(tmp_path / "svg"), "--json", "--tier", "1")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["success"] for line in lines] == [True, True, True, False]
    assert (tmp_path / "svg" / "0.svg").read_text().startswith("<svg")
    status = stack.atelier("status", "--json")
    assert status.returncode == 0
    assert json.loads(status.stdout)["status"] == "healthy"


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_pictures_are_refused_at_every_door(door: httpx.Client, stack: Stack, kind: str) -> None:
    for path in ("/api/convert", "/api/convert-ai", "/api/analyze-image"):
        answer = door.post(path, files={"image": ("a.png", REFUSED[kind])})
        assert 400 <= answer.status_code < 500, (path, answer.text)
        assert answer.json()["field"] == "image"
    client = tritonclient.grpc.InferenceServerClient(stack.grpc)
    with pytest.raises(tritonclient.utils.InferenceServerException) as caught:
        client.infer("vectorize", [image_input(tritonclient.grpc, REFUSED[kind])])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.parametrize("kind", ACCEPTED)
def test_unusual_pictures_are_taken(door: httpx.Client, kind: str) -> None:
    answer = door.post("/api/convert-ai", files={"image": ("a", ACCEPTED[kind])}, data={"tier": "1"})
    assert answer.status_code == 200, answer.text


def test_headers_that_steer_ray_serve_do_nothing(door: httpx.Client) -> None:
    for headers in (
        {b"x-request-id": b"\xff\xfe"},
        {b"x-request-timeout-seconds": b"garbage"},
        {b"x-request-timeout-seconds": b"0.000001"},
        {b"serve_multiplexed_model_id": b"\xff"},
        {b"x-request-disconnect-disabled": b"?1"},
    ):
        assert door.get("/health/live", headers=headers).status_code == 200, headers


async def test_fifty_at_once(stack: Stack, logo: bytes) -> None:
    """D-055: 50 concurrent conversions, with invalid ones among them that do not affect the others."""
    async with httpx.AsyncClient(base_url=f"http://{stack.http}", timeout=120) as client:

        async def one(index: int) -> tuple[int, str]:
            data = b"bad" if index % 10 == 9 else logo
            answer = await client.post(
                "/api/convert-ai", files={"image": ("a", data)}, data={"tier": "1"}, headers=ANEW
            )
            return answer.status_code, answer.json().get("svg_content", "")

        answers = await asyncio.gather(*(one(index) for index in range(50)))
    assert Counter(status for status, _ in answers) == {200: 45, 415: 5}
    assert len({svg for status, svg in answers if status == 200}) == 1


def test_a_client_that_leaves_stops_its_work(door: httpx.Client) -> None:
    """The conversion ends when its caller disconnects, long before its own end."""

    def failures() -> int:
        return int(door.get("/v2/models/vectorize/stats").json()["model_stats"][0]["inference_stats"]["fail"]["count"])

    before = failures()
    noise = np.random.default_rng(1).integers(0, 255, (900, 900, 3), np.uint8)
    body = {"name": "image", "shape": [900, 900, 3], "datatype": "UINT8"}
    head = json.dumps({"inputs": [{**body, "parameters": {"binary_data_size": noise.size}}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    impatient = httpx.Timeout(30, read=0.2)
    content = head + noise.tobytes()
    with httpx.Client(base_url=door.base_url, timeout=impatient) as client, pytest.raises(httpx.ReadTimeout):
        client.post("/v2/models/vectorize/infer", content=content, headers=headers)
    deadline = time.monotonic() + 60
    while failures() == before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert failures() == before + 1
    assert door.get("/health/ready").status_code == 200


async def test_no_request_is_lost_when_a_replica_dies(stack: Stack, logo: bytes) -> None:
    """SIGKILL of the Vectorizer's replica under 12 callers: each call is repeated once, none fails."""
    victims = stack.pids("ServeReplica:atelier:Vectorizer")
    assert len(victims) == 1
    async with httpx.AsyncClient(base_url=f"http://{stack.http}", timeout=120) as client:
        over = time.monotonic() + 4

        async def caller() -> list[int]:
            codes = []
            while time.monotonic() < over:
                answer = await client.post(
                    "/api/convert-ai", files={"image": ("a", logo)}, data={"tier": "1"}, headers=ANEW
                )
                codes.append(answer.status_code)
            return codes

        callers = [asyncio.ensure_future(caller()) for _ in range(12)]
        await asyncio.sleep(1)
        kill(victims[:1])
        codes = [code for codes in await asyncio.gather(*callers) for code in codes]
    assert len(codes) >= 12
    assert set(codes) == {200}


def test_the_dashboard_is_on_and_locked(stack: Stack) -> None:
    """Ray's dashboard can run code: its page is served, its API requires the token."""
    assert httpx.get(f"http://{stack.dashboard}/", timeout=60).status_code == 200
    assert httpx.get(f"http://{stack.dashboard}/api/version", timeout=60).status_code == 401


def test_everything_listens_on_loopback_only(stack: Stack) -> None:
    """Ports of the API, HAProxy's pages, Ray Serve's and Ray's internal ports, Triton's."""
    inodes = {}
    for pid in stack.pids():
        with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    target = os.readlink(link)
                    if target.startswith("socket:["):
                        inodes[target[8:-1]] = pid
    seen, open_to_others = set(), []
    for line in (Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()).splitlines():
        cells = line.split()
        if len(cells) < 10 or cells[3] != "0A" or cells[9] not in inodes:
            continue
        raw, port = cells[1].split(":")
        words = [bytes.fromhex(raw[at : at + 8])[::-1] for at in range(0, len(raw), 8)]
        address = ipaddress.ip_address(b"".join(words))
        mapped = getattr(address, "ipv4_mapped", None) or address
        seen.add(int(port, 16))
        if not mapped.is_loopback:
            open_to_others.append((str(address), int(port, 16)))
    assert int(stack.http.rpartition(":")[2]) in seen
    assert int(stack.grpc.rpartition(":")[2]) in seen
    assert open_to_others == []
