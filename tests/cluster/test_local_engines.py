"""Inferences on the replica's Triton without the replica: when, when not, and what is reported. No Ray, no Triton."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from waiting import until

from serve.cluster.hop import address_lookup, local_engines
from serve.cluster.hop.local_engines import LocalEngines
from serve.engines.service import EngineAddress, machine_id
from serve.errors import DeadlineExceeded, EngineUnavailable, InvalidRequest

pytestmark = pytest.mark.ray

X = {"x": np.ones((3, 2), np.float32)}


class Triton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers the input as ``y``, or as ``code`` says; while ``holds`` it does not answer."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None
        self.message = "unexpected inference input 'x' for model 'a'"
        self.holds = False
        self.calls = 0

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        self.calls += 1
        while self.holds:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if self.code is not None:
            await context.abort(self.code, self.message)
        answer = pb.ModelInferResponse(model_name=request.model_name, model_version=request.model_version)
        answer.outputs.add(name="y", datatype="FP32", shape=request.inputs[0].shape)
        answer.raw_output_contents.append(request.raw_input_contents[0])
        return answer


class Replica:
    """What `LocalEngines` calls of a replica."""

    def __init__(self, address: EngineAddress | None) -> None:
        self.address = address
        self.fails = False
        self.work: list[dict[str, int]] = []
        self.lost: list[Any] = []
        self.asked = 0

    async def call(self, method: str, *arguments: Any) -> Any:
        if self.fails:
            raise EngineUnavailable("no replica")
        if method == "stub_lost":
            self.lost.append(arguments)
            return None
        if method == "bill_work":
            self.work.append(*arguments)
            return None
        assert method == "engine_address"
        self.asked += 1
        return self.address


@pytest.fixture
async def triton() -> AsyncIterator[tuple[Triton, EngineAddress]]:
    servicer, server = Triton(), grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, EngineAddress(machine_id(), f"127.0.0.1:{port}", ("a",), 5.0)
    await server.stop(None)


async def infer(engines: LocalEngines, engine: str = "a", timeout_s: float | None = None) -> Any:
    return await engines.infer(engine, X, None, timeout_s, "1")


async def found(replica: Replica, max_in_flight: int = 4) -> LocalEngines:
    """Once the address is known; the first request takes the hop."""
    engines = LocalEngines(replica.call, max_in_flight)
    assert await infer(engines) is None
    await until(lambda: engines._client is not None, 60)
    return engines


async def test_inference_without_the_replica(triton: tuple[Triton, EngineAddress]) -> None:
    replica = Replica(triton[1])
    engines = await found(replica)
    answer = await infer(engines)
    assert np.array_equal(answer["y"], X["x"])
    assert replica.asked == 1


async def test_work_is_reported_once_a_second(
    triton: tuple[Triton, EngineAddress], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_engines, "REPORT_INTERVAL_S", 0.3)
    replica = Replica(triton[1])
    engines = await found(replica)
    await asyncio.gather(*(infer(engines) for _ in range(3)))
    await until(lambda: sum(one["a"] for one in replica.work) == 9)
    assert len(replica.work) < 3, "not one report for each"
    await infer(engines)
    await until(lambda: sum(one["a"] for one in replica.work) == 12)


@pytest.mark.parametrize("machine", ["another", None])
async def test_other_machines_and_external_tritons_take_the_hop(
    triton: tuple[Triton, EngineAddress], machine: str | None
) -> None:
    url = triton[1].url
    replica = Replica(EngineAddress(machine, url, ("a",), 5.0) if machine else None)
    engines = LocalEngines(replica.call, 4)
    for _ in range(3):
        assert await infer(engines) is None
        await asyncio.sleep(0.02)
    assert replica.asked == 1
    assert triton[0].calls == 0


async def test_engines_with_bounds_of_their_own_take_the_hop(triton: tuple[Triton, EngineAddress]) -> None:
    assert await infer(await found(Replica(triton[1])), "unet") is None


async def test_more_than_the_replica_works_on_take_the_hop(triton: tuple[Triton, EngineAddress]) -> None:
    servicer, address = triton
    engines = await found(Replica(address), max_in_flight=2)
    servicer.holds = True
    held = [asyncio.create_task(infer(engines)) for _ in range(2)]
    await until(lambda: servicer.calls == 2, 60)
    assert await infer(engines) is None
    servicer.holds = False
    assert all(await asyncio.gather(*held))
    assert await infer(engines) is not None


async def test_lost_triton_takes_the_hop_until_it_is_found_again(
    triton: tuple[Triton, EngineAddress], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address_lookup, "RETRY_S", 0.05)
    servicer, address = triton
    replica = Replica(address)
    engines = await found(replica)
    servicer.code = grpc.StatusCode.UNAVAILABLE
    assert await infer(engines) is None
    servicer.code = None
    replica.fails = True
    await asyncio.sleep(0.06)
    assert await infer(engines) is None
    await asyncio.sleep(0.06)  # the address is not found
    replica.fails = False
    assert await infer(engines) is None
    await until(lambda: engines._client is not None, 60)
    assert await infer(engines) is not None


async def test_errors_of_the_request_are_its_own(triton: tuple[Triton, EngineAddress]) -> None:
    servicer, address = triton
    engines = await found(Replica(address))
    servicer.code = grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(InvalidRequest, match="unexpected inference input"):
        await infer(engines)
    servicer.code = None
    assert await infer(engines) is not None


async def test_engine_that_hangs_is_left_to_the_replica(triton: tuple[Triton, EngineAddress]) -> None:
    servicer, address = triton
    engines = await found(Replica(address))
    servicer.holds = True
    with pytest.raises(DeadlineExceeded):
        await infer(engines, timeout_s=0.05)
    assert await infer(engines) is None
    servicer.holds = False


async def test_answers_of_a_triton_that_is_given_up_are_not_used(
    triton: tuple[Triton, EngineAddress], tmp_path: Path
) -> None:
    """The replica gives its Triton up while an inference is in flight."""
    servicer, address = triton
    mark = tmp_path / "serving"
    mark.touch()
    engines = await found(Replica(replace(address, serving_mark=str(mark))))
    assert await infer(engines) is not None
    servicer.holds = True
    held = asyncio.create_task(infer(engines))
    await until(lambda: servicer.calls == 2, 60)
    mark.unlink()
    servicer.holds = False
    assert await held is None
    assert await infer(engines) is None
    assert servicer.calls == 2


async def test_lost_stub_is_reported_before_the_replica_is_called(triton: tuple[Triton, EngineAddress]) -> None:
    """Results that arrive meanwhile are discarded: they may belong to other requests."""
    servicer, address = triton
    replica = Replica(address)
    engines = await found(replica)
    servicer.holds = True
    others = [asyncio.create_task(infer(engines)) for _ in range(2)]
    await until(lambda: servicer.calls == 2, 60)
    client = engines._client
    assert client is not None
    servicer.code, servicer.message = grpc.StatusCode.INTERNAL, "Stub process 'a_0' is not healthy."
    servicer.holds = False
    assert await infer(engines) is None
    assert await asyncio.gather(*others) == [None, None]
    assert ("a", address.url) in replica.lost
    assert client.restart_reason is not None
