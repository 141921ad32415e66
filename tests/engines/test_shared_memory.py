"""Large inputs through shared memory: the same results, bounded memory, nothing left behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import tiny_onnx

from serve.engines.client import EngineClient
from serve.engines.tensors import SMALLEST_REGION_BYTES
from serve.engines.triton.server import TritonServer
from serve.errors import EngineUnavailable, InvalidRequest

pytestmark = pytest.mark.triton

RANDOM = np.random.default_rng(4)


@pytest.fixture
async def shared(triton: TritonServer) -> AsyncIterator[EngineClient]:
    """Sends everything through shared memory, in at most four small regions."""
    client = EngineClient(triton.url, shared_memory_min_bytes=1, shared_memory_max_bytes=4 * SMALLEST_REGION_BYTES)
    yield client
    await client.close()


def files() -> set[str]:
    """Of this process: others have files there too, which come and go."""
    return {path.name for path in Path("/dev/shm").glob(f"atelier_{os.getpid()}_*")}


def rows(count: int) -> np.ndarray:
    return RANDOM.normal(size=(count, 4)).astype(np.float32)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
async def test_shared_memory_gives_the_same_bytes(shared: EngineClient, engines: EngineClient, backend: str) -> None:
    left_before = files()
    for count in (1, 3, 8):
        x = rows(count)
        through_memory = await shared.infer(f"affine_{backend}", {"x": x})
        in_message = await engines.infer(f"affine_{backend}", {"x": x})
        for name in ("y", "z"):
            np.testing.assert_array_equal(through_memory[name], in_message[name])
    assert files() == left_before


async def test_several_inputs_and_views_share_a_region(shared: EngineClient) -> None:
    a, b = RANDOM.normal(size=(2, 6)).astype(np.float32)[:, ::2], np.ones((2, 3), np.float32)
    answer = await shared.infer("pair_onnxruntime", {"a": a, "b": b})
    np.testing.assert_array_equal(answer["total"], a + b)


async def test_concurrent_requests_do_not_mix(shared: EngineClient) -> None:
    """More concurrent requests than regions: the others are sent in their messages."""
    inputs = [rows(1 + index % 8) for index in range(60)]
    answers = await asyncio.gather(*(shared.infer("affine_onnxruntime", {"x": x}) for x in inputs))
    for x, answer in zip(inputs, answers, strict=True):
        np.testing.assert_allclose(answer["y"], x @ tiny_onnx.WEIGHTS, rtol=1e-5, atol=1e-5)


async def test_inputs_larger_than_the_bound_go_in_the_message(shared: EngineClient) -> None:
    x = np.zeros((1, tiny_onnx.SLOW_SIDE, tiny_onnx.SLOW_SIDE), np.float32)
    assert x.nbytes > 4 * SMALLEST_REGION_BYTES - 1
    answer = await shared.infer("slow_onnxruntime", {"x": x}, timeout_s=60)
    assert not answer["y"].any()


async def test_small_regions_make_room_for_a_large_one(shared: EngineClient) -> None:
    await asyncio.gather(*(shared.infer("affine_onnxruntime", {"x": rows(1)}) for _ in range(4)))
    x = rows(40_000)
    answer = await shared.infer("whole_onnxruntime", {"x": x})
    np.testing.assert_allclose(answer["y"], x @ tiny_onnx.WEIGHTS, rtol=1e-4, atol=1e-5)


async def test_errors_and_cancellations_release_the_region(shared: EngineClient) -> None:
    for _ in range(10):
        with pytest.raises(InvalidRequest):
            await shared.infer("affine_onnxruntime", {"x": rows(1)[:, :3]})
        task = asyncio.create_task(shared.infer("affine_onnxruntime", {"x": rows(1)}))
        await asyncio.sleep(0.0002)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    x = rows(2)
    answer = await shared.infer("affine_onnxruntime", {"x": x})
    np.testing.assert_allclose(answer["y"], x @ tiny_onnx.WEIGHTS, rtol=1e-5)


async def test_restarted_server_gets_new_regions(repository: Path) -> None:
    server = TritonServer(repository, ["affine_onnxruntime"])
    await asyncio.to_thread(server.start)
    client = EngineClient(server.url, shared_memory_min_bytes=1)
    try:
        x = rows(2)
        await client.infer("affine_onnxruntime", {"x": x})
        await asyncio.to_thread(server.restart)
        if server.url != client.url:
            await client.connect(server.url)
        for _ in range(50):
            try:
                answer = await client.infer("affine_onnxruntime", {"x": x})
                break
            except EngineUnavailable:
                await asyncio.sleep(0.1)  # the closed connection is not noticed at once
        np.testing.assert_allclose(answer["y"], x @ tiny_onnx.WEIGHTS, rtol=1e-5)
        again = await client.infer("affine_onnxruntime", {"x": x})
        np.testing.assert_array_equal(again["y"], answer["y"])
    finally:
        await client.close()
        await asyncio.to_thread(server.stop)
