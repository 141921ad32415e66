"""A Triton that restarts or moves: the supervisor and the client, against a server with Triton's registrations."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from serve.engines.client import EngineClient
from serve.engines.triton import supervisor
from serve.engines.triton.server import TritonServer
from serve.engines.triton.supervisor import Supervisor
from serve.errors import EngineUnavailable, InvalidRequest
from serve.observability.metrics import catalogue

LARGE = {"x": np.zeros((1, 4), np.float32)}  # for clients with shared_memory_min_bytes=1


class RegionServer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Serves the engine ``name``, and keeps the registered shared memory regions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.regions: set[str] = set()
        self.unregistering = asyncio.Event()
        self.may_unregister = asyncio.Event()
        self.may_unregister.set()
        #: Each gate delays one request whose region is unknown.
        self.gates: list[asyncio.Event] = []
        self.held = asyncio.Event()

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:
        return service_pb2.RepositoryIndexResponse(models=[{"name": self.name}])

    async def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:
        self.regions.add(request.name)
        return service_pb2.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(self, request: Any, context: Any) -> Any:
        self.unregistering.set()
        await self.may_unregister.wait()
        self.regions.discard(request.name)
        return service_pb2.SystemSharedMemoryUnregisterResponse()

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        region = request.inputs[0].parameters["shared_memory_region"].string_param
        if region and region not in self.regions:
            if self.gates:
                gate = self.gates.pop()
                self.held.set()
                await gate.wait()
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Unable to find shared memory region: '{region}'")
        return service_pb2.ModelInferResponse(model_name=self.name)


async def serve(region_server: RegionServer) -> tuple[grpc.aio.Server, str]:
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(region_server, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


async def test_calls_go_to_the_new_server_while_the_old_connection_ends() -> None:
    old, new = RegionServer("old"), RegionServer("new")
    (old_server, old_url), (new_server, new_url) = await serve(old), await serve(new)
    client = EngineClient(old_url, shared_memory_min_bytes=1)
    try:
        await client.infer("old", LARGE)
        assert len(old.regions) == 1
        old.may_unregister.clear()
        move = asyncio.create_task(client.connect(new_url))
        await asyncio.wait_for(old.unregistering.wait(), 60)
        assert await client.engines() == ["new"]
        await client.infer("new", LARGE)
        old.may_unregister.set()
        await move
        assert await client.engines() == ["new"]
        assert (len(old.regions), len(new.regions)) == (0, 1)
    finally:
        await client.close()
        await old_server.stop(None)
        await new_server.stop(None)


async def test_concurrent_requests_with_lost_regions_make_one_new_pool() -> None:
    region_server = RegionServer("engine")
    server, url = await serve(region_server)
    client = EngineClient(url, shared_memory_min_bytes=1)
    try:
        await asyncio.gather(client.infer("engine", LARGE), client.infer("engine", LARGE))
        assert len(region_server.regions) == 2
        region_server.regions.clear()  # as a restart on the same port does
        gate = asyncio.Event()
        region_server.gates.append(gate)
        late = asyncio.create_task(client.infer("engine", LARGE))
        await asyncio.wait_for(region_server.held.wait(), 60)
        await client.infer("engine", LARGE)  # learns it first, and sends its inputs in the message
        await client.infer("engine", LARGE)
        assert len(region_server.regions) == 1
        gate.set()
        await late
        await client.infer("engine", LARGE)
        assert len(region_server.regions) == 1
        await client.close()
        assert not region_server.regions
    finally:
        await client.close()
        await server.stop(None)


GIVEN_UP = "Stub process 'engine_0_0' is not healthy."


class LateStub(RegionServer):
    """A stub that its server gives up at the first request; it answers the second request, which was sent
    concurrently."""

    def __init__(self) -> None:
        super().__init__("engine")
        self.received = 0
        self.both_received, self.late, self.awake = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        self.received += 1
        if self.received == 1:
            await self.late.wait()
            await context.abort(grpc.StatusCode.INTERNAL, GIVEN_UP)
        self.both_received.set()
        await self.awake.wait()
        return service_pb2.ModelInferResponse(model_name=self.name)

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"load failed: Internal: {GIVEN_UP}")


@pytest.mark.parametrize("abandoned", [False, True])
async def test_responses_of_a_given_up_stub_are_refused(abandoned: bool) -> None:
    region_server = LateStub()
    server, url = await serve(region_server)
    client, suspected = EngineClient(url), asyncio.Event()

    def give_up(engine: str) -> None:
        client.restart_reason = f"no more of '{engine}'"
        suspected.set()

    client.on_stub_lost = give_up
    first = asyncio.create_task(client.infer("engine", LARGE))
    second = asyncio.create_task(client.infer("engine", LARGE))
    try:
        await asyncio.wait_for(region_server.both_received.wait(), 60)
        if abandoned:
            for task in (first, second):
                task.cancel()
            await asyncio.gather(first, second, return_exceptions=True)
            second = asyncio.create_task(client.infer("engine", LARGE))
        region_server.late.set()
        await asyncio.wait_for(suspected.wait(), 60)
        region_server.awake.set()
        for task in (second, asyncio.create_task(client.infer("engine", LARGE))):
            with pytest.raises(EngineUnavailable):
                await task
        received, refused = region_server.received, catalogue.INFERENCE_FAILURES.value("engine", "EngineUnavailable")
        assert received == 2 + abandoned
        for ask in (client.infer("engine", LARGE), client.load("engine", timeout_s=5)):
            with pytest.raises(EngineUnavailable, match="restarted"):
                await ask
        assert catalogue.INFERENCE_FAILURES.value("engine", "EngineUnavailable") == refused + 1, "alerts see it"
        await client.connect(url)
        await client.infer("engine", LARGE)
        assert region_server.received == received + 1
    finally:
        await asyncio.gather(first, return_exceptions=True)
        await client.close()
        await server.stop(None)


async def test_version_that_does_not_load_does_not_mark_the_stub_lost() -> None:
    region_server = LateStub()
    server, url = await serve(region_server)
    client, given_up = EngineClient(url), []
    client.on_stub_lost = given_up.append
    try:
        with pytest.raises(InvalidRequest):
            await client.load("engine", timeout_s=5)
        assert given_up == []
    finally:
        await client.close()
        await server.stop(None)


async def test_triton_without_a_supervisor_is_called_again() -> None:
    region_server = LateStub()
    server, url = await serve(region_server)
    client = EngineClient(url)
    region_server.late.set()
    region_server.awake.set()
    try:
        with pytest.raises(EngineUnavailable):
            await client.infer("engine", LARGE)
        await client.infer("engine", LARGE)
    finally:
        await client.close()
        await server.stop(None)


class FlakyServer(TritonServer):
    """A server that has ended; its first restarts raise ``failures``."""

    def __init__(self, url: str, failures: list[Exception]) -> None:
        self._new_url = url
        self._failures = failures
        self._up = False
        self.restarts = 0

    engines = ()
    pid = 2**22 + 1  # above every pid: no process, so no stubs

    @property
    def running(self) -> bool:
        return self._up

    @property
    def url(self) -> str:
        return self._new_url

    def refuse(self) -> None: ...

    def restart(self) -> None:
        self.restarts += 1
        if self._failures:
            raise self._failures.pop()
        self._up = True


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("a fault")])
async def test_failed_restart_is_repeated_and_counted(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_RETRY_S", 0.01)
    server, before = FlakyServer("127.0.0.1:2", [failure]), catalogue.TRITON_RESTARTS.value()
    client = EngineClient("127.0.0.1:1")
    watch = asyncio.create_task(Supervisor(server, client, look_s=0.01).run())
    try:
        async with asyncio.timeout(60):
            while client.url != server.url and not watch.done():  # noqa: ASYNC110 (no event tells)
                await asyncio.sleep(0.01)
        assert not watch.done()
        assert (client.url, server.restarts) == (server.url, 2)
        assert catalogue.TRITON_RESTARTS.value() == before + 2
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await client.close()


def test_failed_spawn_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor retries for ever: a folder each time would fill the disk."""
    (tmp_path / "models" / "engine").mkdir(parents=True)
    (tmp_path / "models" / "engine" / "config.pbtxt").touch()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    server = TritonServer(tmp_path / "models", ["engine"])
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            server.start()
    assert not server.running
    assert list(scratch.iterdir()) == [server.adapters]  # one for all starts
