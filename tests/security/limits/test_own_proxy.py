"""HAProxy as `deployments/haproxy` starts it gives gateways the client's address; no other peer can."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import httpx
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from serve.cluster.ray_environment import apply, ray_environment
from serve.security.limits.addresses import ClientAddresses
from serve.settings import HttpSettings, ProxySettings, Settings

HOME = Path(__file__).parents[3]
CONFIGURATION = """
global
    log /dev/null local0
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
    option splice-request
frontend http_frontend
    bind *:{port}
    default_backend http-gateways
backend http-gateways
    server gateway 127.0.0.1:{gateway}
frontend grpc_frontend
    bind *:{grpc} proto h2
    default_backend grpc-gateways
backend grpc-gateways
    server gateway 127.0.0.1:{gateway} proto h2
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def gateway() -> AsyncIterator[tuple[int, list[list[tuple[bytes, bytes]]]]]:
    """Its port, and the headers of the received requests."""
    received: list[list[tuple[bytes, bytes]]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[1:-2]
                pairs = (line.partition(b":") for line in head)
                received.append([(name.lower(), value.strip()) for name, _, value in pairs])
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], received


def of_one_gateway(settings: Settings, gateway_port: int) -> str:
    return CONFIGURATION.format(port=settings.http.port, gateway=gateway_port, grpc=settings.grpc.port)


@contextlib.contextmanager
def haproxy(folder: Path, configuration: str, environment: dict[str, str]) -> Iterator[None]:
    path = folder / "haproxy.cfg"
    path.write_text(configuration)
    program = HOME / "deployments" / "haproxy"
    running = subprocess.Popen([program, "-f", path], env={**os.environ, **environment}, cwd=folder)
    try:
        yield
    finally:
        running.kill()
        running.wait()


RETRYING = """
global
    log /dev/null local0
    tune.bufsize {buffer}
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option redispatch 1
    retry-on {retry_on}
    retries 3
frontend http_frontend
    bind *:{port}
    default_backend http-gateways
backend http-gateways
    balance first
    server dying 127.0.0.1:{dying}
    server other 127.0.0.1:{other}
"""


@contextlib.asynccontextmanager
async def reader_of_requests(answers: bool) -> AsyncIterator[tuple[int, list[int]]]:
    """Its port, and the sizes of the bodies that it has received. Without ``answers`` it dies after the whole body."""
    received: list[int] = []

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            received.append(len(await reader.readexactly(length)))
            if answers:
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(read, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], received


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Once somebody listens there."""
    for attempt in range(100):
        with contextlib.suppress(ConnectionRefusedError):
            return await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.02 * attempt)
    raise ConnectionRefusedError


async def status_of(port: int, body: bytes) -> int:
    """Of a request whose body comes in two parts."""
    reader, writer = await connected(port)
    head = f"POST / HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    middle = len(body) // 2
    async with asyncio.timeout(60):
        writer.write(head.encode() + body[:middle])
        await writer.drain()
        await asyncio.sleep(0.1)  # so that HAProxy reads them one after the other
        writer.write(body[middle:])
        line = await reader.readline()
    writer.close()
    return int(line.split()[1])


@pytest.mark.parametrize(("kibibytes", "status"), [(40, 204), (120, 204), (300, 503)])
async def test_request_that_fits_the_buffer_is_sent_again(tmp_path: Path, kibibytes: int, status: int) -> None:
    """The first gateway dies with the request. What does not fit is passed on before HAProxy has the rest, and is not
    sent again."""
    settings = Settings.model_validate({"http": {"port": free_port()}})
    environment = ray_environment(settings)
    size = kibibytes * 1024
    async with reader_of_requests(False) as (dying, died_with), reader_of_requests(True) as (other, got):
        buffer, retry_on = (environment[f"RAY_SERVE_HAPROXY_{name}"] for name in ("TUNE_BUFSIZE", "RETRY_ON"))
        ports = {"port": settings.http.port, "dying": dying, "other": other}
        configuration = RETRYING.format(buffer=buffer, retry_on=retry_on, **ports)
        with haproxy(tmp_path, configuration, environment):
            assert await status_of(settings.http.port, bytes(size)) == status
    assert size in died_with
    assert got == ([size] if status == 204 else [])


async def test_request_that_does_not_arrive_gets_408(tmp_path: Path) -> None:
    settings = Settings.model_validate({"http": {"port": free_port()}, "limits": {"body_timeout_s": 0.5}})
    environment = ray_environment(settings) | {"HAPROXY_REQUEST_S": "1"}
    async with reader_of_requests(True) as (gateway_port, received):
        configuration = RETRYING.format(
            buffer=2**17, retry_on="none", port=settings.http.port, dying=gateway_port, other=gateway_port
        )
        with haproxy(tmp_path, configuration, environment):
            reader, writer = await connected(settings.http.port)
            writer.write(b"POST / HTTP/1.1\r\nHost: proxy\r\nContent-Length: 100\r\n\r\npart")
            async with asyncio.timeout(60):
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["status"] == 408
    assert received == []


def test_ray_serve_takes_the_size_of_the_buffer() -> None:
    from ray.serve._private import constants

    assert {"RAY_SERVE_HAPROXY_TUNE_BUFSIZE", "RAY_SERVE_HAPROXY_RETRY_ON"} <= vars(constants).keys()


@pytest.mark.parametrize("spoofed", [{}, {"X-Forwarded-For": "1.1.1.1"}, {"X-Atelier-Peer": "x 1.1.1.1"}])
async def test_haproxy_passes_the_client_address_on(tmp_path: Path, spoofed: dict[str, str]) -> None:
    settings = Settings.model_validate({"http": {"port": free_port()}, "grpc": {"port": free_port()}})
    environment = ray_environment(settings)
    token = environment["ATELIER_PROXY__TOKEN"]
    client_addresses = ClientAddresses(
        settings.model_copy(update={"proxy": ProxySettings.model_validate({"token": token})})
    )
    async with gateway() as (port, received):
        with haproxy(tmp_path, of_one_gateway(settings, port), environment):
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.http.port}") as client:
                await _get_until_connected(client, spoofed)
            commands = await asyncio.to_thread(_commands)
    assert received
    peers = [value for name, value in received[-1] if name == b"x-atelier-peer"]
    assert peers == [f"{token} 127.0.0.1".encode()]
    assert client_addresses.address_of("192.0.2.200", received[-1]) == "127.0.0.1", (
        "whatever address the proxy itself has"
    )
    assert any(b"haproxy.cfg" in command for command in commands)
    assert not [command for command in commands if token.encode() in command]
    assert token not in (tmp_path / "haproxy.cfg").read_text()


async def test_unreachable_gateways_give_503_with_retry_after(tmp_path: Path) -> None:
    settings = Settings.model_validate({"http": {"port": free_port()}, "grpc": {"port": free_port()}})
    with haproxy(tmp_path, of_one_gateway(settings, free_port()), ray_environment(settings)):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.http.port}") as client:
            answer = await _get_until_connected(client, {}, 503)
        assert answer.headers["retry-after"] == "2"
        async with grpc.aio.insecure_channel(f"127.0.0.1:{settings.grpc.port}") as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.ServerLive(pb.ServerLiveRequest(), timeout=60)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert raised.value.details() == "no gateway answered; try again"
    assert dict(raised.value.trailing_metadata())["retry-after"] == "2"


@pytest.mark.parametrize(("host", "among_machines"), [("127.0.0.1", False), ("10.0.0.1", True)])
def test_connections_to_other_machines_have_keepalive(tmp_path: Path, host: str, among_machines: bool) -> None:
    """Without it, HAProxy does not detect a lost peer."""
    path = tmp_path / "haproxy.cfg"
    configuration = CONFIGURATION.replace("\n    server", "\n    http-reuse always\n    server")
    path.write_text(configuration.format(port=free_port(), gateway=free_port(), grpc=free_port()))
    environment = ray_environment(Settings.model_validate({"ray": {"host": host}}))
    command = [HOME / "deployments" / "haproxy", "-c", "-f", path]
    subprocess.run(command, env={**os.environ, **environment}, cwd=tmp_path, check=True, timeout=60)
    assert ("option srvtcpka" in path.read_text()) == among_machines
    assert ("http-reuse never" in path.read_text()) == among_machines
    servers = [line for line in path.read_text().splitlines() if line.lstrip().startswith("server ")]
    assert [line.endswith(" tcp-ut 6s") for line in servers] == [among_machines] * len(servers)
    assert servers


def _commands() -> list[bytes]:
    """The command lines of all processes on this machine."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            commands.append(path.read_bytes())
    return commands


async def _get_until_connected(client: httpx.AsyncClient, headers: dict[str, str], status: int = 204) -> httpx.Response:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await client.get("/v2", headers=headers)
                assert answer.status_code == status
                return answer
            await asyncio.sleep(0.05)


def test_token_is_new_per_start_unless_configured() -> None:
    tokens = {ray_environment(Settings())["ATELIER_PROXY__TOKEN"] for _ in range(3)}
    assert len(tokens) == 3
    assert all(len(token) >= 32 for token in tokens)
    own = Settings(proxy=ProxySettings.model_validate({"token": "same everywhere"}))
    assert ray_environment(own)["ATELIER_PROXY__TOKEN"] == "same everywhere"


def test_uvicorn_trusts_no_forwarded_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """All requests come through HAProxy, from loopback, whose headers Uvicorn would trust."""
    from uvicorn import Config

    settings = Settings(http=HttpSettings(trusted_proxies=("10.0.0.0/8", "::1")))
    environment = ray_environment(settings)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", environment["FORWARDED_ALLOW_IPS"])
    config = Config(lambda: None, factory=True)
    config.load()
    loaded = config.loaded_app
    trusted = loaded.trusted_hosts
    assert "127.0.0.1" not in trusted
    assert "::1" not in trusted
    assert environment["ATELIER_HTTP__TRUSTED_PROXIES"] == '["10.0.0.0/8", "::1"]'


def test_application_and_haproxy_share_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP gateways read the token from their environment; gRPC gateways have it in their settings."""
    environment: dict[str, str] = {}
    monkeypatch.setattr("serve.cluster.ray_environment.os.environ", environment)
    settings = apply(Settings())
    token = environment["ATELIER_PROXY__TOKEN"]
    assert len(token) == 32
    headers = [(b"x-atelier-peer", f"{token} 203.0.113.9".encode())]
    assert ClientAddresses(settings).address_of("127.0.0.1", headers) == "203.0.113.9"
    assert apply(settings) == settings, "one that is set stays"
