"""Random bytes at every port and route of the running stack: no server error."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest
from pictures import drawn, encode
from programs.long_form import length
from tritonclient.grpc import service_pb2 as pb
from whole_stack import Stack

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

DURATION_S = length(8, 120)
LOGO = encode(drawn(size=32))
PATHS = [
    "/api/convert",
    "/api/convert-ai",
    "/api/analyze-image",
    "/v2/models/vectorize/infer",
    "/v2/models/logo_type/infer",
    "/v2/models/vectorize/generate",
    "/v2/repository/index",
    "/nothing",
]
UNARY = [m.name for m in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods if not m.client_streaming]


def damaged(rng: random.Random) -> bytes:
    picture = bytearray(LOGO)
    for _ in range(rng.randint(1, 6)):
        picture[rng.randrange(len(picture))] = rng.randrange(256)
    return bytes(picture[: rng.randint(1, len(picture))])


def http_bodies(rng: random.Random) -> tuple[bytes, dict[bytes, bytes]]:
    if rng.random() < 0.5:
        part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n%b\r\n--x--\r\n'
        return part % damaged(rng), {b"content-type": b"multipart/form-data; boundary=x"}
    length = str(rng.randint(0, 300)).encode()
    return rng.randbytes(rng.randint(0, 2000)), {b"inference-header-content-length": length}


def throw_at_http(address: str, until: float, seen: Counter[str], rng: random.Random) -> None:
    with httpx.Client(base_url=f"http://{address}", timeout=60) as client:
        while time.monotonic() < until:
            body, headers = http_bodies(rng)
            seen[f"http {client.post(rng.choice(PATHS), content=body, headers=headers).status_code}"] += 1


def throw_at_socket(address: str, until: float, seen: Counter[str], rng: random.Random) -> None:
    """Bytes that are not HTTP."""
    host, _, port = address.rpartition(":")
    while time.monotonic() < until:
        with socket.create_connection((host, int(port)), timeout=60) as raw:
            start = rng.choice([b"", b"GET /", b"POST /api/convert HTTP/1.1\r\n"])
            try:
                raw.sendall(start + rng.randbytes(300) + b"\r\n\r\n")
                with contextlib.suppress(OSError):  # ENOTCONN: the server was quicker to close
                    raw.shutdown(socket.SHUT_WR)
                answer = raw.recv(64)
            except (ConnectionResetError, BrokenPipeError, TimeoutError):  # it may close on what is not HTTP
                answer = b""
        status = answer[9:12].decode(errors="replace") if answer.startswith(b"HTTP/1") else "closed"
        seen[f"socket {status}"] += 1


def grpc_message(rng: random.Random) -> bytes:
    """Noise, or an inference request that is half valid."""
    if rng.random() < 0.5:
        return rng.randbytes(rng.randint(0, 400))
    request = pb.ModelInferRequest(model_name="vectorize", raw_input_contents=[rng.randbytes(40)])
    request.inputs.add(name="image", datatype=rng.choice(["BYTES", "UINT8", "X"]), shape=[rng.randint(-1, 5)])
    message: bytes = request.SerializeToString()
    return message


def throw_at_stream(address: str, until: float, seen: Counter[str], rng: random.Random) -> None:
    """A stream responds to every message, and continues."""
    with grpc.insecure_channel(address) as channel:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        while time.monotonic() < until:
            messages = [grpc_message(rng) for _ in range(rng.randint(0, 8))]
            answers = [pb.ModelStreamInferResponse.FromString(raw) for raw in call(iter(messages), timeout=60)]
            assert len(answers) == len(messages)
            for answer in answers:
                seen["stream INTERNAL" if "internal" in answer.error_message else "stream answered"] += 1


def throw_at_grpc(address: str, until: float, seen: Counter[str], rng: random.Random) -> None:
    with grpc.insecure_channel(address) as channel:
        while time.monotonic() < until:
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{rng.choice(UNARY)}")
            try:
                call(grpc_message(rng), timeout=60)
                code = grpc.StatusCode.OK
            except grpc.RpcError as error:
                code = error.code()
            seen[f"grpc {code.name}"] += 1


def test_random_bytes(stack: Stack) -> None:
    seen: Counter[str] = Counter()
    until = time.monotonic() + DURATION_S
    jobs = [(throw_at_http, stack.http), (throw_at_http, stack.http), (throw_at_socket, stack.http)]
    jobs += [(throw_at_grpc, stack.grpc), (throw_at_stream, stack.grpc), (throw_at_socket, stack.grpc)]
    with ThreadPoolExecutor(len(jobs)) as pool:
        thrown = [
            pool.submit(job, address, until, seen, random.Random(index)) for index, (job, address) in enumerate(jobs)
        ]
    print(dict(seen))
    # A server that closes on a well-formed request, or accepts none, fails the test.
    assert [repr(future.exception()) for future in thrown if future.exception() is not None] == []
    faults = [kind for kind in seen if kind.split()[1].startswith("5") or kind.split()[1] in ("INTERNAL", "UNKNOWN")]
    assert faults == []
    assert {"http 400", "grpc INVALID_ARGUMENT", "stream answered"} <= set(seen)
    assert sum(seen.values()) > 100
    assert httpx.get(f"http://{stack.http}/health/ready", timeout=60).status_code == 200
